"""What both servers share: their methods, the limits of their calls, their stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import grpc

from services.server.grpc_server.rpc import Handler

# A method that ignores its cancellation delays the process's end no longer than this.
ABANDONED_AFTER_S: Final = 5.0
UNKNOWN_METHOD: Final = "Method not found!"
TOO_MANY_CALLS: Final = "Concurrent RPC limit exceeded!"
TOO_MANY_STREAMS: Final = "Concurrent stream limit exceeded!"


class Server:
    """Serves asynchronous methods; used like `grpc.aio.server`.

    Make, start and stop it in one event loop. A server implements the methods that are not implemented here.
    """

    def __init__(self, calls_limit: int) -> None:
        """`calls_limit`: the most calls at once; further ones are refused.

        Streams are limited to half of that, because a stream stays open as long as its caller likes, and calls need
        room.
        """
        self._calls_limit = calls_limit
        self._streams_limit = max(1, calls_limit // 2)
        self._methods_at_work = 0
        self._streams_at_work = 0
        self._idle = asyncio.Event()
        self._started = False
        self._stopping: asyncio.Task[None] | None = None

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Serve methods of a service by name. Generated code calls this."""
        raise NotImplementedError

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: generated code also calls `add_registered_method_handlers`, with the same methods."""

    def add_insecure_port(self, address: str) -> int:
        """Listen in plain text. Return the port. Raises RuntimeError if the address is not available."""
        raise NotImplementedError

    def add_secure_port(self, address: str, credentials: grpc.ServerCredentials) -> int:
        """Listen with TLS. Return the port. Raises RuntimeError if the address is not available."""
        raise NotImplementedError

    async def start(self) -> None:
        """Begin to accept calls."""
        self._started = True
        await self._start()

    async def stop(self, grace_s: float) -> None:
        """Accept no more calls, wait `grace_s` for calls in flight, then cancel the rest.

        A second call waits for the same end.
        """
        if self._started and self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(grace_s))
        if self._stopping is not None:
            await asyncio.shield(self._stopping)

    async def _stop(self, grace_s: float) -> None:
        await self._end_calls(grace_s)
        if self._methods_at_work:  # a method may outlive its call, when that was cancelled
            self._idle.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), ABANDONED_AFTER_S)

    async def _start(self) -> None:
        raise NotImplementedError

    async def _end_calls(self, grace_s: float) -> None:
        """Accept no more calls, and return when all have ended."""
        raise NotImplementedError

    def _refusal(self, handler: Handler) -> str:
        """Why a new call of this method is one too many; empty if there is room."""
        if self._methods_at_work >= self._calls_limit:
            return TOO_MANY_CALLS
        if handler.response_streaming and self._streams_at_work >= self._streams_limit:
            return TOO_MANY_STREAMS
        return ""

    def _note_begin(self, handler: Handler) -> None:
        self._methods_at_work += 1
        self._streams_at_work += handler.response_streaming

    def _note_end(self, handler: Handler) -> None:
        self._streams_at_work -= handler.response_streaming
        self._methods_at_work -= 1
        if not self._methods_at_work:
            self._idle.set()
