"""Two gRPC servers for asyncio that serve the same methods: our own, and that of `grpc.aio` (`GRPC_SERVER`).

A call has four events. `grpc.aio` passes each one to the event loop with a write to a socket and a change of threads.
That was more work than all the rest of a call (docs/performance.md has the figures). In our server the event loop polls
gRPC core's completion queue itself while there is work. A thread waits for the queue only when there is none.

    core    Envoy ──▶ gRPC core ──▶ Completions ──▶ CoreServer ──▶ CoreRpc ──▶ the method
                         ▲                                            │
                         └──────────── answer, status ◀───────────────┘

    aio     Envoy ──▶ gRPC core ──▶ grpc.aio ─────▶ AioServer ───▶ AioRpc ───▶ the method

`server.py` and `rpc.py` are what both share: limits of calls, the stop, the context of a method; `choice.py` makes the
one that is set. Like gRPC's own
synchronous server (`grpc/_server.py`) ours uses `grpc._cython.cygrpc`, which is internal to gRPC and may change with
any release. So the version is locked, tests/*/grpc_server check each promise with a real client, and `aio`, which uses
the public interface alone, is there for a release with which ours does not work.
"""
