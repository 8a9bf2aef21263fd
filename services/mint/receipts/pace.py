"""Limit how many receipts are verified in one turn of the event loop, so that it is not blocked for long.

Measured with 256 receipts at once on a busy machine of two cores (tests/bench/receipts.py): all in one turn blocked the
loop for 125 to 200 ms; a thread for each, 80 to 130 ms (most of the work holds Python's lock); with this limit 35 to
45 ms, most of it other processes' load.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Pace:
    """Allows `pieces` pieces of work in one turn of the event loop, in the order of arrival."""

    def __init__(self, pieces: int) -> None:
        self._pieces = pieces
        self._free = pieces
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._watching = False

    async def turn(self) -> None:
        """Return when one piece of work may run. The caller must do it without another await before."""
        loop = asyncio.get_running_loop()
        if not self._watching:
            self._watching = True
            loop.call_soon(self._next_turn, loop)
        if self._free > 0 and not self._waiting:
            self._free -= 1
            return
        called: asyncio.Future[None] = loop.create_future()
        self._waiting.append(called)
        await called

    def _next_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._free = self._pieces
        while self._waiting and self._free > 0:
            called = self._waiting.popleft()
            if not called.done():  # done: the caller gave up
                called.set_result(None)
                self._free -= 1
        self._watching = self._free < self._pieces
        if self._watching:
            loop.call_soon(self._next_turn, loop)
