"""Deliver gRPC core's completed operations to the event loop."""

from __future__ import annotations

import threading
from asyncio import AbstractEventLoop
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import structlog

from services.server.grpc_server import core

log = structlog.get_logger(__name__)

# After so many events the loop does other work.
EVENTS_A_TURN: Final = 128
AT_ONCE: Final = 0
END_LIMIT_S: Final = 5.0


class Completions:
    """A completion queue, polled by the event loop while there is work, and otherwise by a thread.

    Each operation has a tag, a function that the event loop calls with the event of its completion. gRPC core reads its
    sockets in the thread that polls the queue. The event loop polls it as long as events come, because a change of
    threads costs more than a poll. When no event is left, the thread waits for one, and then the loop polls again.
    """

    def __init__(self, loop: AbstractEventLoop) -> None:
        """`loop` is the running event loop."""
        self.queue = core.CompletionQueue()
        self.loop = loop
        self.ended = False
        self._found: deque[core.Event] = deque()
        # The loop releases it when no event is left; then the thread acquires it and polls.
        self._nothing_left = threading.Lock()
        self._nothing_left.acquire()
        self._thread = threading.Thread(target=self._wait, name="grpc-completions", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the queue, which no call may use any more, and deliver the last events.

        Stop all started servers first: one that still listens delays this for five seconds.
        """
        self.ended = True
        self.queue.shutdown()
        with suppress(RuntimeError):  # released already
            self._nothing_left.release()
        self._thread.join(END_LIMIT_S)
        self._take_found()

    def _wait(self) -> None:
        """Poll for one event at a time. Runs in the thread."""
        while True:
            event = self.queue.poll()
            if event.completion_type == core.CompletionType.queue_shutdown:
                return
            self._found.append(event)
            # Drop the event before waiting, as gRPC's own server does: it may be the last reference to a call.
            event = None
            if self.ended:
                continue
            with suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(self._look)
            self._nothing_left.acquire()

    def _look(self) -> None:
        """Deliver all available events, then poll again after the work that they cause. Runs in the event loop."""
        if self.ended:
            return
        taken = self._take_found()
        while taken < EVENTS_A_TURN:
            event = self.queue.poll(AT_ONCE)
            if event.completion_type != core.CompletionType.operation_complete:
                break
            _deliver(event)
            taken += 1
        if taken:
            self.loop.call_soon(self._look)
        else:
            self._nothing_left.release()

    def _take_found(self) -> int:
        taken = 0
        while self._found:
            _deliver(self._found.popleft())
            taken += 1
        return taken


def _deliver(event: core.Event) -> None:
    try:
        event.tag(event)
    except Exception:
        # Only this call failed. All others need their events.
        log.exception("completion_failed")
