"""The reaper: PENDING receipts that nobody finishes get a reason, so that they can be refunded.

The grace is longer than every time limit of the mint cycle: no process still works on
what is reaped. A receipt that is sent again afterwards can still mint.
"""

from __future__ import annotations

from typing import Final

import structlog

from services import failpoints
from services.mint import metrics
from services.mint.statements import QUERIES
from services.storage.connections import Connection
from services.storage.database import Database
from services.storage.rounds import repeat

LOCK_CLASS: Final = 0x56595232  # "VYR2"
LOOK_BACK_S: Final = 7 * 24 * 3600.0
RECEIPTS_A_ROUND: Final = 1_000

log = structlog.get_logger(__name__)


class Reaper:
    """Gives abandoned receipts a reason."""

    def __init__(self, database: Database, grace_s: float, interval_s: float) -> None:
        self._database = database
        self._grace_s = grace_s
        self._interval_s = interval_s

    async def run(self) -> None:
        """Reap again and again."""
        await repeat(self._round, interval_s=self._interval_s, failure_event="reaper_failed")

    async def _round(self) -> None:
        reaped = await self._database.in_transaction(self._reap)
        if reaped:
            metrics.RECEIPTS_REAPED.inc(reaped)
            log.warning("receipts_reaped", receipts=reaped)

    async def _reap(self, connection: Connection) -> int:
        if not await connection.fetchval(QUERIES["try_lock"], LOCK_CLASS, 0):
            return 0
        reaped = await connection.fetch(QUERIES["reap_abandoned"], self._grace_s, LOOK_BACK_S, RECEIPTS_A_ROUND)
        await failpoints.reach("reaper.reaped")
        return len(reaped)
