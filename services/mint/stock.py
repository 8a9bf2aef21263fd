"""What a process caches about one drop's stock between batches: two hints with a limited life."""

from __future__ import annotations

import time
from typing import Final

# SOLD_OUT may be answered from a fact that is at most a second old. A batch uses the fact only if it begins in the
# first half of that second. If the batch is so slow that the second is nearly over, its receipts go into the next one.
SOLD_OUT_MEMORY_S: Final = 0.5
SOLD_OUT_LAST_ANSWER_S: Final = 0.9
RECOUNT_EVERY_S: Final = 1.0
FROM_THE_START: Final = -1


class Stock:
    """One drop's stock, as this process last saw it."""

    def __init__(self) -> None:
        self._sold_out_at_s = float("-inf")
        self._recount_after_s = 0.0
        # Slots up to this sort_order were claimed: a claim that starts after it skips their dead index entries.
        # Slots that came back may be before it, so a claim that finds too few slots begins again at the start.
        self.claimed_up_to = FROM_THE_START

    @property
    def is_sold_out(self) -> bool:
        """Whether Postgres had no slot a moment ago."""
        return time.monotonic() < self._sold_out_at_s + SOLD_OUT_MEMORY_S

    @property
    def may_answer_sold_out(self) -> bool:
        """Whether that fact is still recent enough for an answer."""
        return time.monotonic() < self._sold_out_at_s + SOLD_OUT_LAST_ANSWER_S

    def remember(self, *, is_sold_out: bool, seen_at_s: float) -> None:
        """Cache whether the drop is sold out, by a statement that began at `seen_at_s` (monotonic seconds)."""
        self._sold_out_at_s = seen_at_s if is_sold_out else float("-inf")

    def is_recount_due(self) -> bool:
        """Whether to recount now: True at most once a second."""
        now_s = time.monotonic()
        if now_s < self._recount_after_s:
            return False
        self._recount_after_s = now_s + RECOUNT_EVERY_S
        return True
