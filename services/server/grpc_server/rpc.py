"""One RPC, whichever server has accepted it: the context of its method, and the call of that method."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final, NoReturn, TypeAlias

import grpc

Metadata = tuple[tuple[str, str | bytes], ...]
# A grpc.RpcMethodHandler with asynchronous methods, which gRPC's type stubs do not know.
Handler: TypeAlias = Any

UNEXPECTED: Final = "The server could not serve this call"
NO_MESSAGE: Final = "The call carries no message"
# gRPC core's properties with the names of a client's certificate (grpc_security_constants.h).
NAME_PROPERTIES: Final = ("peer_dns", "peer_uri")


class Rpc:
    """A call that a server has accepted. The method gets it as its context.

    It has the methods of `grpc.aio.ServicerContext` that we need, with the same meaning. A server implements those that
    are not implemented here.
    """

    __slots__ = ("_code", "_details", "_handler", "_trailing_metadata")

    def __init__(self, handler: Handler) -> None:
        """`handler`: the method of the call."""
        self._handler = handler
        self._code: grpc.StatusCode | None = None
        self._details = ""
        self._trailing_metadata: Metadata = ()

    # For the method.

    def invocation_metadata(self) -> Metadata:
        """The caller's metadata; values of keys that end in `-bin` are bytes."""
        raise NotImplementedError

    def peer(self) -> str:
        """The other end of the connection, in gRPC's form: `ipv4:192.0.2.7:51000`, `ipv6:%5B::1%5D:51000`."""
        raise NotImplementedError

    def certificate_names(self) -> frozenset[str]:
        """DNS names and URIs of the caller's certificate (RFC 5280, 4.2.1.6); empty without a certificate."""
        raise NotImplementedError

    def time_remaining(self) -> float:
        """Seconds until the caller's deadline; infinite without one."""
        raise NotImplementedError

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        """Send headers before the answer; at most once. Raises UsageError."""
        raise NotImplementedError

    async def write(self, message: Any) -> None:
        """Send one message of a stream, and wait until there is room for more. Raises CancelledError, UsageError."""
        raise NotImplementedError

    def code(self) -> grpc.StatusCode | None:
        """The status that the caller gets instead of an answer."""
        return self._code

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """End the method; the caller gets this status and no answer. Raises AbortError."""
        self.end_with(code, details, trailing_metadata)
        raise grpc.aio.AbortError

    def end_with(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> None:
        """Give the caller this status instead of an answer, once the method has returned."""
        self._code, self._details, self._trailing_metadata = code, details, trailing_metadata

    # For the server.

    async def _answer(self, request: bytes | AsyncIterator[Any] | None) -> bytes | None:
        """Call the method. Return its one message; None for a stream, which sends each message itself, or a refusal."""
        handler = self._handler
        try:
            if request is None:
                await self.abort(grpc.StatusCode.INVALID_ARGUMENT, NO_MESSAGE)
            asked = handler.request_deserializer(request) if isinstance(request, bytes) else request
            if handler.response_streaming:
                await self._stream(asked)
                return None
            method = handler.stream_unary if handler.request_streaming else handler.unary_unary
            message = await method(asked, self)
        except grpc.aio.AbortError:
            if self._code is None:
                raise
        if self._code is not None:
            return None
        answer: bytes = handler.response_serializer(message)
        return answer

    async def _stream(self, asked: Any) -> None:
        handler = self._handler
        method = handler.stream_stream if handler.request_streaming else handler.unary_stream
        answers = method(asked, self)
        if hasattr(answers, "__aiter__"):
            async with aclosing(answers):
                async for message in answers:
                    await self.write(message)
        else:
            await answers  # a method that calls `write` itself

    async def _messages(self) -> AsyncIterator[Any]:
        """The messages of a caller that streams."""
        while (message := await self._read()) is not None:
            yield self._handler.request_deserializer(message)

    async def _read(self) -> bytes | None:
        """The caller's next message; None after the last. Raises UsageError."""
        raise NotImplementedError
