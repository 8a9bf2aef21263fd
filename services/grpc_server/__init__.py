"""A gRPC server for asyncio that costs less than half of `grpc.aio`'s.

`grpc.aio` hands each of a call's four events over to the event loop by itself, with a write to a socket and a
change of threads: that was more work than the rest of a call together (docs/performance.md has the figures). Here
the event loop looks into gRPC core's completion queue itself while there is work, and a thread waits there only when
there is none.

    Envoy ──▶ gRPC core ──▶ Completions ──▶ Server: the method of the call ──▶ Rpc
                 ▲                                                              │
                 └──────────────────────── answer, status ◀─────────────────────┘

Like gRPC's own synchronous server (`grpc/_server.py`) it is written against `grpc._cython.cygrpc`, which is gRPC's
own and may change with any release: the version is locked, and tests/*/grpc_server asks each promise of a real
client.
"""
