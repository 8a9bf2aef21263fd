"""A gRPC server for asyncio that costs less than half of `grpc.aio`'s.

`grpc.aio` hands each of a call's four events over to the event loop by itself, with a write to a socket and a
change of threads: that was more work than the rest of a call together (docs/performance.md has the figures). Here,
as in gRPC's own synchronous server (`grpc/_server.py`), a thread waits at gRPC core's completion queue and starts
the next step of a call itself. The event loop hears of a call once, when its request is complete, and of all that came
meanwhile at the same time.

    Envoy ──▶ gRPC core ──▶ CompletionThread ──▶ event loop: the method of the call
                 ▲                                      │
                 └──────────── answer, status ◀─────────┘

Like that server it is written against `grpc._cython.cygrpc`, which is gRPC's own and may change with any release: the
version is locked, and tests/unit/grpc_server asks each promise of a real client.
"""
