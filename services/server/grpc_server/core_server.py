"""The server at gRPC core's completion queue: its ports and methods, its start and its stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import grpc

from services.server.grpc_server import core
from services.server.grpc_server.completions import Completions
from services.server.grpc_server.core_rpc import CoreRpc, refuse
from services.server.grpc_server.rpc import Handler
from services.server.grpc_server.server import UNKNOWN_METHOD, Server


class CoreServer(Server):
    """Serves asynchronous methods without `grpc.aio`."""

    def __init__(self, completions: Completions, *, options: Sequence[tuple[str, Any]], calls_limit: int) -> None:
        """`options`: gRPC core's channel arguments. Stop the server before its `completions` end.

        The servers of a process share their `completions`: gRPC core has one set of sockets for a process, and several
        threads that wait for it would compete at every event.
        """
        super().__init__(calls_limit)
        self._completions = completions
        self._server = core.Server(tuple(options), False)
        self._server.register_completion_queue(completions.queue)
        self._handlers: dict[bytes, Handler] = {}
        self._closed = asyncio.Event()

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        self._handlers |= {f"/{service}/{method}".encode(): handler for method, handler in handlers.items()}

    def add_insecure_port(self, address: str) -> int:
        return self._check_port(address, self._server.add_http2_port(address.encode()))

    def add_secure_port(self, address: str, credentials: grpc.ServerCredentials) -> int:
        internal = credentials._credentials  # type: ignore[attr-defined]
        return self._check_port(address, self._server.add_http2_port(address.encode(), internal))

    @staticmethod
    def _check_port(address: str, port: int) -> int:
        if port == 0:
            raise RuntimeError(f"cannot listen on {address}")
        return port

    async def _start(self) -> None:
        self._server.start()
        self._ask_for_call()

    async def _stop(self, grace_s: float) -> None:
        await super()._stop(grace_s)
        self._server.destroy()

    async def _end_calls(self, grace_s: float) -> None:
        self._server.shutdown(self._completions.queue, self._on_shutdown)
        try:
            await asyncio.wait_for(self._closed.wait(), grace_s)
        except TimeoutError:
            self._server.cancel_all_calls()
            await self._closed.wait()

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
        elif refusal := self._refusal(handler):
            refuse(event, grpc.StatusCode.RESOURCE_EXHAUSTED, refusal)
        else:
            rpc = CoreRpc(event, handler, self._completions, self._note_end)
            self._note_begin(handler)
            rpc.begin()

    def _on_shutdown(self, _: core.Event) -> None:
        """The tag of the shutdown: all calls have ended, and all ports are closed."""
        self._closed.set()
