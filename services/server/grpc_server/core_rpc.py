"""One RPC at gRPC core's completion queue."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Final

import grpc
import structlog

from services.server.grpc_server import core
from services.server.grpc_server.completions import Completions
from services.server.grpc_server.rpc import NAME_PROPERTIES, UNEXPECTED, Handler, Metadata, Rpc

log = structlog.get_logger(__name__)

NO_FLAGS: Final = 0
CENTURIES_S: Final = 1e12  # gRPC core has no infinite deadline; it uses a very late one


class CoreRpc(Rpc):
    """A call that gRPC core has accepted. Methods that begin with `_on_` are tags."""

    __slots__ = (
        "_call",
        "_cancelled",
        "_completions",
        "_deadline_s",
        "_ended",
        "_initial_metadata_sent",
        "_is_writing",
        "_metadata",
        "_note_end",
        "_task",
    )

    def __init__(
        self, event: core.Event, handler: Handler, completions: Completions, note_end: Callable[[Handler], None]
    ) -> None:
        """`event`: gRPC core's event of a new call. `note_end`: called when the method has ended."""
        super().__init__(handler)
        self._call = event.call
        self._metadata: Metadata = event.invocation_metadata
        deadline_s: float = event.call_details.deadline
        self._deadline_s = deadline_s if deadline_s < CENTURIES_S else math.inf
        self._completions = completions
        self._note_end = note_end
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False
        self._ended = False
        self._initial_metadata_sent = False
        self._is_writing = False

    # For the method.

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def peer(self) -> str:
        peer = self._call.peer()
        return peer.decode() if isinstance(peer, bytes) else peer

    def certificate_names(self) -> frozenset[str]:
        known = core.auth_context(self._call)
        return frozenset(name.decode() for kind in NAME_PROPERTIES for name in known.get(kind.encode(), ()))

    def time_remaining(self) -> float:
        return max(self._deadline_s - time.time(), 0.0)

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        if self._initial_metadata_sent:
            raise grpc.aio.UsageError("Initial metadata was sent before")
        self._start([core.SendInitialMetadataOperation(metadata, NO_FLAGS)], _ignore)
        self._initial_metadata_sent = True

    async def write(self, message: Any) -> None:
        if self._is_writing:  # gRPC core refuses a second message at once, and then at times ends the process
            raise grpc.aio.UsageError("A message is being written")
        done, resolve = self._future_and_tag()

        def tag(event: core.Event) -> None:
            self._is_writing = False
            resolve(event)

        self._send([core.SendMessageOperation(self._handler.response_serializer(message), NO_FLAGS)], tag)
        self._is_writing = True
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
            self._note_end(self._handler)
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
            self._note_end(self._handler)
            return
        self._task = self._completions.loop.create_task(self._serve(request))
        self._task.add_done_callback(self._forget_task)

    def _forget_task(self, _: asyncio.Task[None]) -> None:
        # A task keeps its error, and the error keeps this call: drop the task, or the call would leak.
        self._task = None
        self._note_end(self._handler)

    async def _serve(self, request: bytes | AsyncIterator[Any] | None) -> None:
        try:
            answer = await self._answer(request)
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

    async def _read(self) -> bytes | None:
        operation = core.ReceiveMessageOperation(NO_FLAGS)
        done, tag = self._future_and_tag()
        self._start([operation], tag)
        await done
        message: bytes | None = operation.message()
        return message

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
