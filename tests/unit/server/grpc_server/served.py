"""A server with methods of the test's own, and a client of gRPC's at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc

from services.server.grpc_server.choice import Kind, servers
from services.server.grpc_server.rpc import Handler, Rpc
from services.server.grpc_server.server import Server

SERVICE = "test.Service"
NEVER_S = 3600.0
Method = Callable[[Any, Rpc], Any]


def as_it_is(message: bytes) -> bytes:
    return message


def unary(
    method: Method, *, read: Callable[[bytes], Any] = as_it_is, written: Callable[[Any], Any] = as_it_is
) -> Handler:
    return grpc.unary_unary_rpc_method_handler(method, request_deserializer=read, response_serializer=written)


def server_stream(method: Method) -> Handler:
    return grpc.unary_stream_rpc_method_handler(method, request_deserializer=as_it_is, response_serializer=as_it_is)


def client_stream(method: Method) -> Handler:
    return grpc.stream_unary_rpc_method_handler(method, request_deserializer=as_it_is, response_serializer=as_it_is)


def both_streams(method: Method) -> Handler:
    return grpc.stream_stream_rpc_method_handler(method, request_deserializer=as_it_is, response_serializer=as_it_is)


async def echo(request: bytes, rpc: Rpc) -> bytes:
    return request


class Chosen:
    """The kind of server that `served` starts. The fixture `grpc_server` sets it."""

    kind: Kind = "core"


class Served:
    """The running server and how to ask it."""

    def __init__(self, server: Server, port: int, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.port = port
        self.channel = channel
        self._stopped = False

    def call(self, method: str, message: bytes = b"", **how: Any) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
        """One message for one; ends after ten seconds unless `timeout` says otherwise."""
        return self.channel.unary_unary(f"/{SERVICE}/{method}")(message, **{"timeout": 10, **how})

    def listen(self, method: str, message: bytes = b"", **how: Any) -> grpc.aio.UnaryStreamCall[bytes, bytes]:
        """A stream for one message."""
        return self.channel.unary_stream(f"/{SERVICE}/{method}")(message, **{"timeout": 10, **how})

    def talk(self, method: str, **how: Any) -> grpc.aio.StreamStreamCall[bytes, bytes]:
        """A stream for a stream."""
        return self.channel.stream_stream(f"/{SERVICE}/{method}")(**{"timeout": 10, **how})

    async def refused(self, method: str, message: bytes = b"", **how: Any) -> grpc.aio.AioRpcError:
        """The error in which a call ends."""
        try:
            answer = await self.call(method, message, **how)
        except grpc.aio.AioRpcError as error:
            return error
        raise AssertionError(f"answered {answer!r}")

    async def stop(self, grace_s: float) -> float:
        """Stop now and not at the end; how many seconds it took."""
        self._stopped = True
        clock = asyncio.get_running_loop().time
        began_s = clock()
        await self.server.stop(grace_s)
        return clock() - began_s

    async def close(self) -> None:
        if not self._stopped:
            await self.server.stop(0)


@asynccontextmanager
async def served(
    calls_limit: int = 100, options: Sequence[tuple[str, Any]] = (), **methods: Handler
) -> AsyncIterator[Served]:
    """A server of these methods on a free port of the loopback interface."""
    with servers(Chosen.kind) as make_server:
        server = make_server(options=options, calls_limit=calls_limit)
        server.add_registered_method_handlers(SERVICE, methods)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            running = Served(server, port, channel)
            try:
                yield running
            finally:
                await running.close()


class Stay:
    """A method that stays until the test lets it go, or it is cancelled."""

    def __init__(self) -> None:
        self.there = 0
        self.cancelled = 0
        self.go = asyncio.Event()

    async def __call__(self, request: bytes, _: Rpc) -> bytes:
        self.there += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.there -= 1
        return request


async def becomes(said: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(within_s):
        while not said():
            await asyncio.sleep(0.005)


def methods_at_it() -> int:
    """Tasks that serve a call: ours, and those of `grpc.aio`."""
    names = {"CoreRpc._serve", "_handle_exceptions"}
    return sum(task.get_coro().__qualname__ in names for task in asyncio.all_tasks())
