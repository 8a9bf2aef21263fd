"""The thread that waits for what gRPC core has done."""

from __future__ import annotations

import threading
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import structlog

from services.grpc_server import core

log = structlog.get_logger(__name__)

END_LIMIT_S: Final = 5.0


class CompletionThread:
    """Waits at a completion queue and tells the event loop.

    What gRPC core is asked to do carries a tag, a function that this thread calls with the event once it is done. A
    tag may ask for more, and hands over to the event loop whatever is not gRPC's own: of all state but gRPC's, only
    the loop's thread touches any.
    """

    def __init__(self, loop: AbstractEventLoop) -> None:
        """`loop` is the running event loop."""
        self.queue = core.CompletionQueue()
        self.loop = loop
        self.ended = False
        self._handed_over: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._loop_knows = False
        self._thread = threading.Thread(target=self._wait, name="grpc-completion", daemon=True)

    def start(self) -> None:
        """Begin to wait."""
        self._thread.start()

    def end(self) -> None:
        """Close the queue, which no call may use any more, and wait until the thread has seen all its events."""
        self.ended = True
        self.queue.shutdown()
        self._thread.join(END_LIMIT_S)

    def hand_over(self, function: Callable[[Any], None], argument: Any) -> None:
        """Have the event loop call `function(argument)`; in the order of the events."""
        self._handed_over.append((function, argument))
        # One wake-up for all that comes before the loop gets to it. The loop says that it knows no more before it takes
        # the first, so nothing is left lying.
        if not self._loop_knows:
            self._loop_knows = True
            self.loop.call_soon_threadsafe(self._take_over)

    def _take_over(self) -> None:
        self._loop_knows = False
        while self._handed_over:
            function, argument = self._handed_over.popleft()
            try:
                function(argument)
            except Exception:
                # Of one call. Those behind it wait for nobody else to come.
                log.exception("hand_over_failed")

    def _wait(self) -> None:
        while True:
            event = self.queue.poll()
            if event.tag is None:  # only the end of the queue has none
                return
            try:
                event.tag(event)
            except Exception:
                # Of one call. All others need this thread.
                log.exception("completion_failed")
            # gRPC's own server lets go of an event before it waits: it may hold the last reference to a call.
            event = None
