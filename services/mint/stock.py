"""What a process remembers of one drop's stock between batches. Both memories are hints with a bound."""

from __future__ import annotations

import time
from typing import Final

# SOLD_OUT may be said while the fact is at most a second old. A batch begins to use it in the first half of
# that second; when it took so long that the second is nearly over, it looks again instead of saying it.
SOLD_OUT_MEMORY_S: Final = 0.5
SOLD_OUT_LAST_SAID_S: Final = 0.9
RECOUNT_EVERY_S: Final = 1.0


class Stock:
    """One drop's stock as this process last saw it."""

    def __init__(self) -> None:
        self._sold_out_at_s = float("-inf")
        self._recount_after_s = 0.0
        # Slots up to here were claimed: a claim that starts behind them steps over no dead index entries.
        # Slots that came back lie before it, so a claim that finds none begins again at the start.
        self.claimed_up_to = -1

    @property
    def known_sold_out(self) -> bool:
        """Whether Postgres held no slot a moment ago."""
        return time.monotonic() < self._sold_out_at_s + SOLD_OUT_MEMORY_S

    @property
    def may_say_sold_out(self) -> bool:
        """Whether that fact is still fresh enough to be told."""
        return time.monotonic() < self._sold_out_at_s + SOLD_OUT_LAST_SAID_S

    def saw(self, *, sold_out: bool, at_s: float) -> None:
        """Note what a plain count showed that began at `at_s` (monotonic seconds)."""
        self._sold_out_at_s = at_s if sold_out else float("-inf")

    def recount_due(self) -> bool:
        """True at most once a second."""
        now_s = time.monotonic()
        if now_s < self._recount_after_s:
            return False
        self._recount_after_s = now_s + RECOUNT_EVERY_S
        return True
