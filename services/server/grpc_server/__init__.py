"""A gRPC server for asyncio that costs less than half of `grpc.aio`'s.

A call has four events. `grpc.aio` passes each one to the event loop with a write to a socket and a change of threads.
That was more work than all the rest of a call (docs/performance.md has the figures). Here the event loop polls gRPC
core's completion queue itself while there is work. A thread waits for the queue only when there is none.

    Envoy ──▶ gRPC core ──▶ Completions ──▶ Server: the method of the call ──▶ Rpc
                 ▲                                                              │
                 └──────────────────────── answer, status ◀─────────────────────┘

Like gRPC's own synchronous server (`grpc/_server.py`) it uses `grpc._cython.cygrpc`, which is internal to gRPC and may
change with any release. So the version is locked, and tests/*/grpc_server checks each promise with a real client.
"""
