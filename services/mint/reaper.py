"""The reaper: PENDING receipts that nobody finishes get a reason, so that they can be refunded.

The grace is longer than any caller waits, so that hardly ever a process still works on what is reaped. Where one does
(it pursues begun work without callers, see `services/data/batching`), and where a receipt is sent again afterwards, it
can still mint: the claim takes FAILED receipts, too.
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
# All that was created in a stretch of time is read by one statement, which has its time limit: a stretch that was too
# long for it is cut. A drop of millions enters some thousand receipts a second.
SHORTEST_STRETCH: Final = timedelta(seconds=10)
CUT: Final = 8
CATCHING_UP_S: Final = 0.1
# What became visible so much later than it was created is still seen.
OVERLAP: Final = timedelta(minutes=1)
# A later one is found when the whole ledger is read again.
LOOK_AGAIN_S: Final = 3600.0

log = structlog.get_logger(__name__)


class Look(NamedTuple):
    """What one round did."""

    reaped: int
    settled_before: datetime | None  # None: another process was at it
    is_behind: bool


class Reaper:
    """Gives abandoned receipts a reason.

    No state leads back to PENDING. So what was created before the oldest receipt that is still PENDING need not be read
    again: with ten million receipts a week that took a core for seconds, every few seconds.
    """

    def __init__(self, database: Database, grace_s: float) -> None:
        self._database = database
        self._grace_s = grace_s
        self._stretch = LOOK_BACK
        self._look_again_at_s = time.monotonic() + LOOK_AGAIN_S
        # A suite that was away for longer than the look back left PENDING receipts behind it.
        self._has_looked_at_all = False
        # By Postgres' clock; None until this process has looked.
        self.settled_before: datetime | None = None

    async def once(self) -> bool:
        """One round; True where there is more to look at. Raises DatabaseUnavailable."""
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
