"""Keeps verification from holding up the event loop: so many pieces in one turn of it, the rest in the next.

Measured with 256 receipts at once on a busy machine of two cores (tests/bench/receipts.py):
all in one turn held the loop up for 125 to 200 ms, a thread for each 80 to 130 ms (Python's
lock is held for most of the work), paced 35 to 45 ms, of which most was other processes' load.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Pace:
    """Lets `pieces` through in one turn of the event loop, first come, first served."""

    def __init__(self, pieces: int) -> None:
        self._pieces = pieces
        self._free = pieces
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._watching = False

    async def turn(self) -> None:
        """Return when one more piece may be done, without another await before it is."""
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
