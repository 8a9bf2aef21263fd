"""The server with the public `grpc.aio`.

Every method is served as one with a stream of requests, which is the same on the wire. So we read the caller's message
ourselves: `grpc.aio` never answers a call without a message, and tells callers the text of errors.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import grpc
import structlog

from services.server.grpc_server.rpc import NAME_PROPERTIES, UNEXPECTED, Handler, Metadata, Rpc
from services.server.grpc_server.server import Server

log = structlog.get_logger(__name__)

# Keys and text that gRPC sends (PROTOCOL-HTTP2.md, Custom-Metadata).
_KEY: Final = re.compile(r"[0-9a-z_.-]+")
_TEXT: Final = re.compile(r"[ -~]*")


class AioRpc(Rpc):
    """A call that `grpc.aio` has accepted."""

    __slots__ = ("_context", "_ended", "_metadata")

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any], handler: Handler) -> None:
        """`context`: that of `grpc.aio`, for messages as bytes."""
        super().__init__(handler)
        self._context = context
        self._metadata: Metadata | None = None
        self._ended = False

    # For the method.

    def invocation_metadata(self) -> Metadata:
        if self._metadata is None:
            self._metadata = tuple(self._open_context().invocation_metadata() or ())
        return self._metadata

    def peer(self) -> str:
        return self._open_context().peer()

    def certificate_names(self) -> frozenset[str]:
        known = self._open_context().auth_context()
        return frozenset(name.decode() for kind in NAME_PROPERTIES for name in known.get(kind, ()))

    def time_remaining(self) -> float:
        remaining_s: float | None = self._open_context().time_remaining()
        return math.inf if remaining_s is None else remaining_s

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        _check_sendable(metadata)
        await self._wait_for(self._open_context().send_initial_metadata(metadata))

    async def write(self, message: Any) -> None:
        await self._wait_for(self._open_context().write(self._handler.response_serializer(message)))

    # From the caller's message to the answer.

    async def serve(self) -> bytes | None:
        """Serve the call. Return the one message of its answer, if it has one."""
        try:
            request = self._messages() if self._handler.request_streaming else await self._read()
            answer = await self._answer(request)
            if self._code is not None:
                self._details.encode()
                _check_sendable(self._trailing_metadata)
            elif not isinstance(answer, bytes | None):
                raise TypeError("The answer is not bytes")
        except asyncio.CancelledError:
            # The caller has gone, or the method has cancelled itself.
            self.end_with(grpc.StatusCode.CANCELLED)
        except Exception:
            # Only the log gets its text.
            log.exception("rpc_failed")
            self.end_with(grpc.StatusCode.UNKNOWN, UNEXPECTED)
        finally:
            self._ended = True
        if self._code is not None:
            await _end(self._context, self._code, self._details, self._trailing_metadata)
            return None
        return answer

    async def _read(self) -> bytes | None:
        message = await self._wait_for(self._open_context().read())
        return None if message is grpc.aio.EOF else message

    def _open_context(self) -> grpc.aio.ServicerContext[Any, Any]:
        """The context while the call lasts; later it may end the process. Raises UsageError."""
        if self._ended:
            raise grpc.aio.UsageError("The call has ended")
        return self._context

    @staticmethod
    async def _wait_for(operation: Any) -> Any:
        try:
            return await operation
        except grpc.aio.UsageError:
            raise
        except grpc.aio.BaseError:
            # The caller has gone, or the server has stopped; the task is cancelled as well.
            raise asyncio.CancelledError from None


async def _end(
    context: grpc.aio.ServicerContext[Any, Any], code: grpc.StatusCode, details: str, metadata: Metadata = ()
) -> None:
    """Give the caller this status. The method of `grpc.aio` must return at once."""
    try:
        await context.abort(code, details, metadata)
    except grpc.aio.BaseError as error:
        # AbortError, or InternalError if the caller has gone. The call keeps the first, and its frames would keep the
        # call until the garbage collector comes.
        error.__traceback__ = None


def _check_sendable(metadata: Metadata) -> None:
    """Check metadata before `grpc.aio`, which would leave the caller waiting. Raises TypeError, ValueError."""
    for key, value in metadata:
        fits = isinstance(value, bytes) if key.endswith("-bin") else _TEXT.fullmatch(value)  # type: ignore[arg-type]
        if not fits or not _KEY.fullmatch(key):
            raise ValueError(f"Metadata {key} cannot be sent")


class AioServer(Server):
    """Serves asynchronous methods with `grpc.aio`."""

    def __init__(self, *, options: Sequence[tuple[str, Any]], calls_limit: int) -> None:
        """`options`: gRPC core's channel arguments."""
        super().__init__(calls_limit)
        self._server = grpc.aio.server(options=tuple(options))

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        served = {method: self._served(handler) for method, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, served),))

    def add_insecure_port(self, address: str) -> int:
        return self._server.add_insecure_port(address)

    def add_secure_port(self, address: str, credentials: grpc.ServerCredentials) -> int:
        return self._server.add_secure_port(address, credentials)

    async def _start(self) -> None:
        await self._server.start()

    async def _end_calls(self, grace_s: float) -> None:
        await self._server.stop(grace_s)

    def _served(self, handler: Handler) -> Handler:
        """A handler for `grpc.aio` that serves bytes with `handler`."""

        async def serve(_: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> bytes | None:
            if refusal := self._refusal(handler):
                await _end(context, grpc.StatusCode.RESOURCE_EXHAUSTED, refusal)
                return None
            self._note_begin(handler)
            try:
                return await AioRpc(context, handler).serve()
            finally:
                self._note_end(handler)

        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(serve)
        return grpc.stream_unary_rpc_method_handler(serve)
