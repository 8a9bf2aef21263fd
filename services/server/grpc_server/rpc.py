"""One RPC: the context of its method, and the sending of its answer."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import Any, Final, NoReturn, TypeAlias

import grpc
import structlog

from services.server.grpc_server import core
from services.server.grpc_server.completions import Completions

log = structlog.get_logger(__name__)

Metadata = tuple[tuple[str, str | bytes], ...]
# A grpc.RpcMethodHandler with asynchronous methods, which gRPC's type stubs do not know.
Handler: TypeAlias = Any

NO_FLAGS: Final = 0
CENTURIES_S: Final = 1e12  # gRPC core has no infinite deadline; it uses a very late one
UNEXPECTED: Final = "The server could not serve this call"
# gRPC core's properties with the names of a client's certificate (grpc_security_constants.h).
NAME_PROPERTIES: Final = (b"peer_dns", b"peer_uri")
NO_MESSAGE: Final = "The call carries no message"


class Rpc:
    """A call that gRPC core has accepted. The method gets it as its context.

    It has the methods of `grpc.aio.ServicerContext` that we need, with the same meaning. Methods that begin with `_on_`
    are tags.
    """

    __slots__ = (
        "_call",
        "_cancelled",
        "_code",
        "_completions",
        "_deadline_s",
        "_details",
        "_ended",
        "_handler",
        "_initial_metadata_sent",
        "_metadata",
        "_note_end",
        "_task",
        "_trailing_metadata",
    )

    def __init__(
        self, event: core.Event, handler: Handler, completions: Completions, note_end: Callable[[object], None]
    ) -> None:
        """`event`: gRPC core's event of a new call. `note_end`: called when the method has ended."""
        self._call = event.call
        self._metadata: Metadata = event.invocation_metadata
        deadline_s: float = event.call_details.deadline
        self._deadline_s = deadline_s if deadline_s < CENTURIES_S else math.inf
        self._handler = handler
        self._completions = completions
        self._note_end = note_end
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False
        self._ended = False
        self._initial_metadata_sent = False
        self._code: grpc.StatusCode | None = None
        self._details = ""
        self._trailing_metadata: Metadata = ()

    # For the method.

    def invocation_metadata(self) -> Metadata:
        """The caller's metadata; values of keys that end in `-bin` are bytes."""
        return self._metadata

    def peer(self) -> str:
        """The other end of the connection, in gRPC's form: `ipv4:192.0.2.7:51000`, `ipv6:%5B::1%5D:51000`."""
        peer = self._call.peer()
        return peer.decode() if isinstance(peer, bytes) else peer

    def certificate_names(self) -> frozenset[str]:
        """DNS names and URIs of the caller's certificate (RFC 5280, 4.2.1.6); empty without a certificate."""
        known = core.auth_context(self._call)
        return frozenset(name.decode() for kind in NAME_PROPERTIES for name in known.get(kind, ()))

    def time_remaining(self) -> float:
        """Seconds until the caller's deadline; infinite without one."""
        return max(self._deadline_s - time.time(), 0.0)

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

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        """Send headers before the answer; at most once. Raises UsageError."""
        if self._initial_metadata_sent:
            raise grpc.aio.UsageError("Initial metadata was sent before")
        self._start([core.SendInitialMetadataOperation(metadata, NO_FLAGS)], _ignore)
        self._initial_metadata_sent = True

    async def write(self, message: Any) -> None:
        """Send one message of a stream, and wait until there is room for more. Raises CancelledError, UsageError."""
        done, tag = self._future_and_tag()
        self._send([core.SendMessageOperation(self._handler.response_serializer(message), NO_FLAGS)], tag)
        if not await done:
            # The caller has gone; the task is cancelled as well.
            raise asyncio.CancelledError

    # From the caller's message to the answer.

    def begin(self) -> None:
        """Wait for the caller's message; a method with a stream of messages waits itself.

        If that fails, the call ends at once and frees its place. Raises the failure.
        """
        try:
            self._start([core.ReceiveCloseOnServerOperation(NO_FLAGS)], self._on_closed)
            if self._handler.request_streaming:
                self._run(self._messages())
            else:
                self._start([core.ReceiveMessageOperation(NO_FLAGS)], self._on_message)
        except Exception:
            self._note_end(self)
            with suppress(grpc.aio.UsageError):  # gRPC core refuses this, too
                self._end(grpc.StatusCode.UNKNOWN, UNEXPECTED, ())
            raise

    def _on_message(self, event: core.Event) -> None:
        self._run(event.batch_operations[0].message())

    def _on_closed(self, event: core.Event) -> None:
        if event.batch_operations[0].cancelled():
            # The caller has hung up, or the deadline has passed.
            self._cancelled = True
            if self._task is not None:
                self._task.cancel()

    def _run(self, request: bytes | AsyncIterator[Any] | None) -> None:
        if self._cancelled:
            self._note_end(self)
            return
        self._task = self._completions.loop.create_task(self._serve(request))
        self._task.add_done_callback(self._forget_task)

    def _forget_task(self, _: asyncio.Task[None]) -> None:
        # A task keeps its error, and the error keeps this call: drop the task, or the call would leak.
        self._task = None
        self._note_end(self)

    async def _serve(self, request: bytes | AsyncIterator[Any] | None) -> None:
        try:
            answer = None
            try:
                answer = await self._answer(request)
            except grpc.aio.AbortError:
                if self._code is None:
                    raise
            if self._code is None:
                self._end(grpc.StatusCode.OK, "", (), answer)
            else:
                self._end(self._code, self._details, self._trailing_metadata)
        except asyncio.CancelledError:
            self._end(grpc.StatusCode.CANCELLED, "", ())
            raise
        except Exception:
            # Only the log gets its text.
            log.exception("rpc_failed")
            self._end(grpc.StatusCode.UNKNOWN, UNEXPECTED, ())

    async def _answer(self, request: bytes | AsyncIterator[Any] | None) -> bytes | None:
        """Call the method. Return its one message; None for a stream, which sends each message itself, or a refusal."""
        handler = self._handler
        if request is None:
            await self.abort(grpc.StatusCode.INVALID_ARGUMENT, NO_MESSAGE)
        asked = handler.request_deserializer(request) if isinstance(request, bytes) else request
        if not handler.response_streaming:
            method = handler.stream_unary if handler.request_streaming else handler.unary_unary
            message = await method(asked, self)
            if self._code is not None:
                return None
            answer: bytes = handler.response_serializer(message)
            return answer
        method = handler.stream_stream if handler.request_streaming else handler.unary_stream
        answers = method(asked, self)
        if hasattr(answers, "__aiter__"):
            async with aclosing(answers):
                async for message in answers:
                    await self.write(message)
        else:
            await answers  # a method that calls `write` itself
        return None

    async def _messages(self) -> AsyncIterator[Any]:
        while True:
            operation = core.ReceiveMessageOperation(NO_FLAGS)
            done, tag = self._future_and_tag()
            self._start([operation], tag)
            await done
            if operation.message() is None:
                return
            yield self._handler.request_deserializer(operation.message())

    def _end(
        self, code: grpc.StatusCode, details: str, trailing_metadata: Metadata, answer: bytes | None = None
    ) -> None:
        status = core.SendStatusFromServerOperation(trailing_metadata, code.value[0], details.encode(), NO_FLAGS)
        self._send([status] if answer is None else [core.SendMessageOperation(answer, NO_FLAGS), status], _ignore)
        self._ended = True

    def _send(self, operations: list[core.Operation], tag: core.Tag) -> None:
        """Start operations, with the headers first if they are not sent yet. Raises UsageError."""
        if not self._initial_metadata_sent:
            operations.insert(0, core.SendInitialMetadataOperation(None, NO_FLAGS))
        self._start(operations, tag)
        self._initial_metadata_sent = True

    def _start(self, operations: list[core.Operation], tag: core.Tag) -> None:
        """Give operations to gRPC core. Raises UsageError if it refuses them; then it never calls the tag."""
        if self._ended or self._completions.ended:  # otherwise gRPC core would abort the process
            raise grpc.aio.UsageError("The call has ended")
        refusal = self._call.start_server_batch(operations, tag)
        if refusal:
            raise grpc.aio.UsageError(f"gRPC core refuses it (grpc_call_error {refusal})")

    def _future_and_tag(self) -> tuple[asyncio.Future[bool], core.Tag]:
        """A future for an operation's success, and the tag that sets it."""
        done: asyncio.Future[bool] = self._completions.loop.create_future()

        def resolve(event: core.Event) -> None:
            if not done.done():
                done.set_result(event.success)

        return done, resolve


def refuse(event: core.Event, code: grpc.StatusCode, details: str) -> None:
    """End a new call without calling a method."""
    event.call.start_server_batch(
        (
            core.SendInitialMetadataOperation(None, NO_FLAGS),
            core.ReceiveCloseOnServerOperation(NO_FLAGS),
            core.SendStatusFromServerOperation(None, code.value[0], details.encode(), NO_FLAGS),
        ),
        _ignore,
    )


def _ignore(event: core.Event) -> None:
    """The tag of an operation that no code waits for."""
