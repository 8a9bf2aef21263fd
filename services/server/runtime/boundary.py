"""The call boundary: the code between gRPC and a service's own method.

From the outside to the inside: exceptions become refusals, metrics and a span, authentication, the method. A stream has
neither metrics nor a span, because it lasts as long as its caller likes. Before a method waits, it asks its `Call` for
the remaining time. All is composed once for each method when the server is built. gRPC interceptors would cost one more
await each for every call.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message

from services.server import tracing
from services.server.grpc_server.rpc import Handler, Rpc
from services.server.runtime.call import Call
from services.server.runtime.metrics import RPC_SECONDS
from services.server.runtime.refusals import refusal_of
from vyris.error_wire import trailing_metadata
from vyris.errors import REQUEST_LIMIT_BYTES, InvalidRequest, VyrisError

OK: Final = "OK"
# Placeholders for a request with bytes that are not a valid message (for example not UTF-8), or with too many bytes.
_UNREADABLE: Final = object()
_TOO_LARGE: Final = object()

# A method returns the refusals that callers get often: raising costs more, and a storm gets nothing else.
Method = Callable[[Any, Call], Awaitable[Message | VyrisError]]
StreamMethod = Callable[[Any, Call], AsyncGenerator[Message, None]]
# Runs before the method: sets the caller's identity (`Call.identity`), or raises Unauthorized.
Authenticate = Callable[[Message, Call], Awaitable[None]]


@dataclass(frozen=True)
class Endpoint:
    """A gRPC service and the object that serves it.

    The coroutine method `do_thing(request, call)` serves the RPC `DoThing`: it returns the answer or a refusal, or
    raises one. An async generator method of the same shape serves a server stream.
    """

    descriptor: ServiceDescriptor
    servicer: object
    beside: object | None = None
    """Serves the methods that `servicer` does not have."""


def method_handlers(
    endpoint: Endpoint, *, limit_s: float, authenticate: Authenticate | None = None
) -> dict[str, Handler]:
    """All methods of an endpoint by name, each inside the boundary."""
    return {
        method.name: _method_handler(method, _behaviour(endpoint, method.name), limit_s, authenticate)
        for method in endpoint.descriptor.methods
    }


def _method_handler(
    method: MethodDescriptor, behaviour: Any, limit_s: float, authenticate: Authenticate | None
) -> Handler:
    path = f"/{method.containing_service.full_name}/{method.name}"
    request_class = message_factory.GetMessageClass(method.input_type)
    answer_class = message_factory.GetMessageClass(method.output_type)
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(
            _stream_boundary(behaviour, method, path, limit_s, authenticate),
            request_deserializer=_reader(request_class),
            response_serializer=answer_class.SerializeToString,
        )
    return grpc.unary_unary_rpc_method_handler(
        _unary_boundary(behaviour, method, path, limit_s, authenticate),
        request_deserializer=_reader(request_class),
        response_serializer=answer_class.SerializeToString,
    )


def _behaviour(endpoint: Endpoint, method: str) -> Any:
    name = _snake_case(method)
    return getattr(endpoint.servicer if hasattr(endpoint.servicer, name) else endpoint.beside, name)


def _reader(request_class: type[Message]) -> Callable[[bytes], Message | object]:
    """Make a deserializer that returns a placeholder for an unreadable request, so that the boundary refuses it."""

    def read(raw: bytes) -> Message | object:
        if len(raw) > REQUEST_LIMIT_BYTES:  # JSON of this length makes a shorter message
            return _TOO_LARGE
        try:
            return request_class.FromString(raw)
        except DecodeError:
            return _UNREADABLE

    return read


def _refuse_unread(request: object) -> None:
    if request is _UNREADABLE:
        raise InvalidRequest()
    if request is _TOO_LARGE:
        raise InvalidRequest.too_large()


def _unary_boundary(
    behaviour: Method, method: MethodDescriptor, path: str, limit_s: float, authenticate: Authenticate | None
) -> Callable[[Message, Rpc], Awaitable[Message | None]]:
    observe_ok = RPC_SECONDS(path, OK).observe

    def refuse(refusal: VyrisError, rpc: Rpc, started_s: float) -> None:
        RPC_SECONDS(path, refusal.reason).observe(time.perf_counter() - started_s)
        rpc.end_with(refusal.grpc_code, refusal.message, trailing_metadata(refusal))

    async def traced(request: Message, rpc: Rpc) -> Message | None:
        with tracing.call_span(path, rpc.invocation_metadata()) as span:
            try:
                return await boundary(request, rpc)
            finally:
                code = rpc.code()
                if span is not None and code is not None:
                    span.set_attribute("rpc.grpc.status_code", code.value[0])

    async def boundary(request: Message, rpc: Rpc) -> Message | None:
        started_s = time.perf_counter()
        try:
            _refuse_unread(request)
            call = Call(rpc, method, path, limit_s)
            if authenticate is not None:
                await authenticate(request, call)
            answer = await behaviour(request, call)
        except Exception as error:
            # Kept in no variable: an error and the frame that it passed would hold each other.
            refuse(refusal_of(error, path, rpc), rpc, started_s)
            return None
        if isinstance(answer, VyrisError):
            refuse(answer, rpc, started_s)
            return None
        observe_ok(time.perf_counter() - started_s)
        return answer

    return traced if tracing.is_on() else boundary


def _stream_boundary(
    behaviour: StreamMethod, method: MethodDescriptor, path: str, limit_s: float, authenticate: Authenticate | None
) -> Callable[[Message, Rpc], AsyncIterator[Message]]:
    async def boundary(request: Message, rpc: Rpc) -> AsyncIterator[Message]:
        try:
            _refuse_unread(request)
            call = Call(rpc, method, path, limit_s)
            if authenticate is not None:
                await authenticate(request, call)
            async with aclosing(behaviour(request, call)) as messages:
                async for message in messages:
                    yield message
        except Exception as error:
            refusal = refusal_of(error, path, rpc)
            await rpc.abort(refusal.grpc_code, refusal.message, trailing_metadata(refusal))

    return boundary


def _snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def service_names(endpoints: Sequence[Endpoint]) -> list[str]:
    """Full names, as health and reflection know them."""
    return [endpoint.descriptor.full_name for endpoint in endpoints]
