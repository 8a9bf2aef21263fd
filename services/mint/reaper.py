"""The reaper: fail abandoned PENDING receipts, with a reason, so that they can be refunded.

The grace is longer than any caller waits, so a process hardly ever still works on such a receipt. If one does
(`services/data/batching` finishes begun work without callers), or if the receipt is sent again, it can still mint,
because the claim also takes FAILED receipts.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import structlog

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.data.storage.failures import DatabaseUnavailable
from services.data.storage.locks import LockClass, try_lock
from services.mint import metrics
from services.mint.statements import QUERIES
from services.server import failpoints

LOOK_BACK: Final = timedelta(days=7)
RECEIPTS_A_ROUND: Final = 1_000
# One statement reads all receipts of a range of time. If it exceeds its time limit, the next range is shorter. A drop
# of millions enters some thousand receipts a second.
SHORTEST_STRETCH: Final = timedelta(seconds=10)
CUT: Final = 8
CATCHING_UP_S: Final = 0.1
# A receipt that becomes visible this long after its creation is still found.
OVERLAP: Final = timedelta(minutes=1)
# A still later one is found when the last week is read again.
LOOK_AGAIN_S: Final = 3600.0

log = structlog.get_logger(__name__)


class Look(NamedTuple):
    """What one round did."""

    reaped: int
    settled_before: datetime | None  # None: another process has the lock
    is_behind: bool


class Reaper:
    """Fails abandoned receipts.

    No state changes back to PENDING. So receipts older than the oldest PENDING one need not be read again. Reading all
    took a core for seconds with ten million receipts a week.
    """

    def __init__(self, database: Database, grace_s: float) -> None:
        self._database = database
        self._grace_s = grace_s
        self._stretch = LOOK_BACK
        self._look_again_at_s = time.monotonic() + LOOK_AGAIN_S
        # False until all receipts were read once: a suite that was down for over a week left older PENDING receipts.
        self._has_looked_at_all = False
        # No receipt created before this time is PENDING. By Postgres' clock; None until this process has looked.
        self.settled_before: datetime | None = None

    async def once(self) -> bool:
        """Run one round. Return True if there is more to read. Raises DatabaseUnavailable."""
        if self._has_looked_at_all and time.monotonic() >= self._look_again_at_s:
            self._look_again_at_s = time.monotonic() + LOOK_AGAIN_S
            self.settled_before = None
        try:
            look = await self._database.in_transaction(self._reap)
        except DatabaseUnavailable:
            self._stretch = max(SHORTEST_STRETCH, self._stretch / CUT)
            raise
        if look.settled_before is not None:
            self.settled_before = look.settled_before
            self._has_looked_at_all |= not look.is_behind
        if look.is_behind:
            self._stretch = min(2 * self._stretch, LOOK_BACK)
        if look.reaped:
            metrics.RECEIPTS_REAPED.inc(look.reaped)
            log.warning("receipts_reaped", receipts=look.reaped)
        return look.is_behind

    async def _reap(self, connection: Connection) -> Look:
        if not await try_lock(connection, LockClass.MINT_REAPER):
            return Look(0, None, is_behind=False)
        now: datetime = await connection.fetchval(QUERIES["transaction_time"])
        if self.settled_before is not None:
            begins = self.settled_before - OVERLAP
        else:
            begins = now - LOOK_BACK
            if not self._has_looked_at_all:
                # No receipt is older than the first drop.
                begins = min(begins, await connection.fetchval(QUERIES["first_drop_created_at"]) or now)
        abandoned_before = now - timedelta(seconds=self._grace_s)
        ends = min(begins + OVERLAP + self._stretch, abandoned_before)
        reaped = await connection.fetch(QUERIES["reap_abandoned"], begins, ends, self._grace_s, RECEIPTS_A_ROUND)
        oldest: datetime | None = await connection.fetchval(QUERIES["oldest_pending"], begins, ends)
        await failpoints.reach("reaper.reaped")
        return Look(len(reaped), oldest or ends, is_behind=ends < abandoned_before)
