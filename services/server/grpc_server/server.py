"""The server: its ports and methods, its start and its stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import grpc

from services.server.grpc_server import core
from services.server.grpc_server.completions import Completions
from services.server.grpc_server.rpc import Handler, Rpc, refuse

UNKNOWN_METHOD: Final = "Method not found!"
# A method that ignores its cancellation delays the process's end no longer than this.
ABANDONED_AFTER_S: Final = 5.0
TOO_MANY_CALLS: Final = "Concurrent RPC limit exceeded!"
TOO_MANY_STREAMS: Final = "Concurrent stream limit exceeded!"


class Server:
    """Serves asynchronous methods; used like `grpc.aio.server`.

    Make, start and stop it in one event loop.
    """

    def __init__(self, completions: Completions, *, options: Sequence[tuple[str, Any]], calls_limit: int) -> None:
        """`options`: gRPC core's channel arguments. `calls_limit`: the most calls at once; further ones are refused.

        Streams are limited to half of that, because a stream stays open as long as its caller likes, and calls need
        room.

        The servers of a process share their `completions`: gRPC core has one set of sockets for a process, and several
        threads that wait for it would compete at every event.
        """
        self._completions = completions
        self._server = core.Server(tuple(options), False)
        self._server.register_completion_queue(completions.queue)
        self._handlers: dict[bytes, Handler] = {}
        self._calls_limit = calls_limit
        self._streams_limit = max(1, calls_limit // 2)
        self._methods_at_work = 0
        self._streams_at_work = 0
        self._started = False
        self._stopping: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()
        self._idle = asyncio.Event()

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Serve methods of a service by name. Generated code calls this."""
        self._handlers |= {f"/{service}/{method}".encode(): handler for method, handler in handlers.items()}

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: generated code also calls `add_registered_method_handlers`, with the same methods."""

    def add_insecure_port(self, address: str) -> int:
        """Listen in plain text. Return the port. Raises RuntimeError if the address is not available."""
        return self._check_port(address, self._server.add_http2_port(address.encode()))

    def add_secure_port(self, address: str, credentials: grpc.ServerCredentials) -> int:
        """Listen with TLS. Return the port. Raises RuntimeError if the address is not available."""
        internal = credentials._credentials  # type: ignore[attr-defined]
        return self._check_port(address, self._server.add_http2_port(address.encode(), internal))

    @staticmethod
    def _check_port(address: str, port: int) -> int:
        if port == 0:
            raise RuntimeError(f"cannot listen on {address}")
        return port

    def start(self) -> None:
        """Begin to accept calls."""
        self._started = True
        self._server.start()
        self._ask_for_call()

    async def stop(self, grace_s: float) -> None:
        """Accept no more calls, wait `grace_s` for calls in flight, then cancel the rest.

        Call it before its completions end. A second call waits for the same end.
        """
        if self._started and self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(grace_s))
        if self._stopping is not None:
            await asyncio.shield(self._stopping)

    async def _stop(self, grace_s: float) -> None:
        self._server.shutdown(self._completions.queue, self._on_shutdown)
        try:
            await asyncio.wait_for(self._closed.wait(), grace_s)
        except TimeoutError:
            self._server.cancel_all_calls()
            await self._closed.wait()
        if self._methods_at_work:  # a method may outlive its call, when that was cancelled
            self._idle.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), ABANDONED_AFTER_S)
        self._server.destroy()

    def _ask_for_call(self) -> None:
        self._server.request_call(self._completions.queue, self._completions.queue, self._on_call)

    def _on_call(self, event: core.Event) -> None:
        if not event.success or self._completions.ended:  # the server stops, or was left behind
            return
        try:
            self._take(event)
        finally:
            with suppress(ValueError):  # it has begun to stop
                self._ask_for_call()

    def _take(self, event: core.Event) -> None:
        handler = self._handlers.get(event.call_details.method)
        if handler is None:
            refuse(event, grpc.StatusCode.UNIMPLEMENTED, UNKNOWN_METHOD)
        elif self._methods_at_work >= self._calls_limit:
            refuse(event, grpc.StatusCode.RESOURCE_EXHAUSTED, TOO_MANY_CALLS)
        elif not handler.response_streaming:
            rpc = Rpc(event, handler, self._completions, self._note_end)
            self._methods_at_work += 1
            rpc.begin()
        elif self._streams_at_work >= self._streams_limit:
            refuse(event, grpc.StatusCode.RESOURCE_EXHAUSTED, TOO_MANY_STREAMS)
        else:
            rpc = Rpc(event, handler, self._completions, self._note_stream_end)
            self._methods_at_work += 1
            self._streams_at_work += 1
            rpc.begin()

    def _on_shutdown(self, _: core.Event) -> None:
        """The tag of the shutdown: all calls have ended, and all ports are closed."""
        self._closed.set()

    def _note_stream_end(self, rpc: object) -> None:
        self._streams_at_work -= 1
        self._note_end(rpc)

    def _note_end(self, _: object) -> None:
        self._methods_at_work -= 1
        if not self._methods_at_work:
            self._idle.set()
