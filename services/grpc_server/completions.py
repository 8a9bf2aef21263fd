"""What gRPC core has done, told to the event loop."""

from __future__ import annotations

import threading
from asyncio import AbstractEventLoop
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import structlog

from services.grpc_server import core

log = structlog.get_logger(__name__)

# After so many events the loop's other work has its turn.
EVENTS_A_TURN: Final = 128
AT_ONCE: Final = 0
END_LIMIT_S: Final = 5.0


class Completions:
    """A completion queue, and whoever looks into it: the event loop while there is work, else a thread.

    What gRPC core is asked to do carries a tag, a function that the event loop calls with the event once it is done.
    gRPC core reads its sockets in the thread that looks into the queue. The loop does that itself as long as
    something comes; a change of threads costs more than a look. Only when nothing is left does the thread wait in its
    stead, for one event, and then the loop looks again.
    """

    def __init__(self, loop: AbstractEventLoop) -> None:
        """`loop` is the running event loop."""
        self.queue = core.CompletionQueue()
        self.loop = loop
        self.ended = False
        self._found: deque[core.Event] = deque()
        # Held by the thread while it waits and released by the loop when nothing is left to look at.
        self._nothing_left = threading.Lock()
        self._nothing_left.acquire()
        self._thread = threading.Thread(target=self._wait, name="grpc-completions", daemon=True)

    def __enter__(self) -> Self:
        """Begin to wait."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the queue, which no call may use any more, and tell the last events.

        Servers that were started have to be stopped before: one that still listens holds this up for five seconds.
        """
        self.ended = True
        self.queue.shutdown()
        with suppress(RuntimeError):  # released already
            self._nothing_left.release()
        self._thread.join(END_LIMIT_S)
        self._take_found()

    def _wait(self) -> None:
        """In the thread."""
        while True:
            event = self.queue.poll()
            if event.completion_type == core.CompletionType.queue_shutdown:
                return
            self._found.append(event)
            # gRPC's own server lets go of an event before it waits: it may hold the last reference to a call.
            event = None
            if self.ended:
                continue
            with suppress(RuntimeError):  # the loop is closed, and nobody wants to know any more
                self.loop.call_soon_threadsafe(self._look)
            self._nothing_left.acquire()

    def _look(self) -> None:
        """In the event loop: take what there is, and look once more when what comes of it has been done."""
        if self.ended:
            return
        taken = self._take_found()
        while taken < EVENTS_A_TURN:
            event = self.queue.poll(AT_ONCE)
            if event.completion_type != core.CompletionType.operation_complete:
                break
            _tell(event)
            taken += 1
        if taken:
            self.loop.call_soon(self._look)
        else:
            self._nothing_left.release()

    def _take_found(self) -> int:
        taken = 0
        while self._found:
            _tell(self._found.popleft())
            taken += 1
        return taken


def _tell(event: core.Event) -> None:
    try:
        event.tag(event)
    except Exception:
        # Of one call. All others need to be told, too.
        log.exception("completion_failed")
