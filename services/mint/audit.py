"""The audit: check the contract's sums of drops and receipts, and export the differences as metrics.

It changes nothing. Every process runs its own audit, so that an alert does not depend on one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import structlog

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.mint import metrics
from services.mint.statements import QUERIES

INTERVAL_S: Final = 30.0
# Counting a drop of ten million keeps a core busy for a second or two. So the pause is this many times the duration.
REST: Final = 40.0
DROPS_A_STATEMENT: Final = 100
PENDING_LOOK_BACK: Final = timedelta(days=1)

log = structlog.get_logger(__name__)


class Audit:
    """Looks for broken rules."""

    def __init__(self, database: Database, settled_before: Callable[[], datetime | None]) -> None:
        """`settled_before` returns the time before which no receipt is PENDING, or None while that is unknown."""
        self._database = database
        self._settled_before = settled_before

    async def once(self) -> None:
        """Count once. Raises DatabaseUnavailable."""
        await self._database.in_long_transaction(self._count)
        metrics.AUDITED_AT.set_to_current_time()

    async def _count(self, connection: Connection) -> None:
        after = 0
        while rows := await connection.fetch(QUERIES["audit_drops"], after, DROPS_A_STATEMENT):
            for row in rows:
                _export(row)
            after = rows[-1]["id"]
        now: datetime = await connection.fetchval(QUERIES["transaction_time"])
        begins = self._settled_before() or now - PENDING_LOOK_BACK
        oldest: datetime | None = await connection.fetchval(QUERIES["oldest_pending"], begins, now)
        metrics.OLDEST_PENDING_S.set((now - oldest).total_seconds() if oldest else 0)


def _export(row: asyncpg.Record) -> None:
    drop = (row["tier"], row["year"], row["environment"])
    metrics.MEMBERSHIPS_OVER_CAPACITY.labels(*drop).set(row["over_capacity"])
    metrics.SLOTS_UNACCOUNTED.labels(*drop).set(row["unaccounted"])
    metrics.NUMBERS_MISSING.labels(*drop).set(row["numbers_missing"])
    broken = {
        name: row[name] for name in ("over_capacity", "unaccounted", "numbers_missing", "held_unaccounted") if row[name]
    }
    if broken:
        log.error("rule_broken", drop=drop, **broken)
