"""What a process remembers of one drop's stock between batches. Both memories are hints with a bound."""

from __future__ import annotations

import time
from typing import Final

# SOLD_OUT may be said while the fact is at most a second old; the rest of that second is for the batch
# that uses it and for the answer's way.
SOLD_OUT_MEMORY_S: Final = 0.5
RECOUNT_EVERY_S: Final = 1.0


class Stock:
    """One drop's stock as this process last saw it."""

    def __init__(self) -> None:
        self._sold_out_until_s = 0.0
        self._recount_after_s = 0.0
        # Slots up to here were claimed: a claim that starts behind them steps over no dead index entries.
        # Slots that came back lie before it, so a claim that finds none begins again at the start.
        self.claimed_up_to = -1

    @property
    def known_sold_out(self) -> bool:
        """Whether Postgres held no slot a moment ago."""
        return time.monotonic() < self._sold_out_until_s

    def saw(self, *, sold_out: bool, at_s: float) -> None:
        """Note what a plain count showed that began at `at_s` (monotonic seconds)."""
        self._sold_out_until_s = at_s + SOLD_OUT_MEMORY_S if sold_out else 0.0

    def recount_due(self) -> bool:
        """True at most once a second."""
        now_s = time.monotonic()
        if now_s < self._recount_after_s:
            return False
        self._recount_after_s = now_s + RECOUNT_EVERY_S
        return True
