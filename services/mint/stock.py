"""What a process remembers of one drop's stock between batches. Both memories are hints with a bound."""

from __future__ import annotations

import time
from typing import Final

# SOLD_OUT may be answered while the fact is at most a second old. A batch begins to use the fact in the first half of
# that second. Where the batch took so long that the second is nearly over, its receipts go into the next one.
SOLD_OUT_MEMORY_S: Final = 0.5
SOLD_OUT_LAST_SAID_S: Final = 0.9
RECOUNT_EVERY_S: Final = 1.0
FROM_THE_START: Final = -1


class Stock:
    """One drop's stock as this process last saw it."""

    def __init__(self) -> None:
        self._sold_out_at_s = float("-inf")
        self._recount_after_s = 0.0
        # Slots up to here were claimed: a claim that starts behind them steps over no dead index entries.
        # Slots that came back lie before it, so a claim that comes back short begins again at the start.
        self.claimed_up_to = FROM_THE_START

    @property
    def is_sold_out(self) -> bool:
        """Whether Postgres held no slot a moment ago."""
        return time.monotonic() < self._sold_out_at_s + SOLD_OUT_MEMORY_S

    @property
    def may_say_sold_out(self) -> bool:
        """Whether that fact is still fresh enough to be answered."""
        return time.monotonic() < self._sold_out_at_s + SOLD_OUT_LAST_SAID_S

    def remember(self, *, is_sold_out: bool, seen_at_s: float) -> None:
        """Note what a look at all slots showed that began at `seen_at_s` (monotonic seconds)."""
        self._sold_out_at_s = seen_at_s if is_sold_out else float("-inf")

    def recount_due(self) -> bool:
        """True at most once a second."""
        now_s = time.monotonic()
        if now_s < self._recount_after_s:
            return False
        self._recount_after_s = now_s + RECOUNT_EVERY_S
        return True
