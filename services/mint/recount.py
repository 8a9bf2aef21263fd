"""The recount: write Postgres' number of unclaimed slots over Redis' count.

It runs at the start, every few seconds, when the key is missing, and (at most once a second) when a batch was refused
slots that Postgres may have. Advisory locks let one process at a time recount all drops, and one process recount each
drop in doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.data.storage.locks import WHOLE, LockClass, try_lock, wait_for_lock
from services.mint import metrics
from services.mint.bouncer import Bouncer, count_key
from services.mint.drops import Drop
from services.mint.statements import QUERIES
from services.server import failpoints

# The newest drops. The count of an older one is corrected when a batch is in doubt about it.
DROPS_LIMIT: Final = 10_000


class Recounter:
    """Corrects the bouncer's counts."""

    def __init__(self, database: Database, bouncer: Bouncer) -> None:
        self._database = database
        self._bouncer = bouncer

    async def once(self) -> None:
        """Recount all drops, unless another process does it now. Raises DatabaseUnavailable."""
        await self._recount(None, "interval")

    async def recount(self, drop: Drop) -> None:
        """Recount one drop, because its count is missing or was too low. Raises DatabaseUnavailable."""
        await self._recount([drop.id], "doubt")

    async def rebuild(self) -> None:
        """Recount all drops for the operator, after a running recount has ended. Raises DatabaseUnavailable."""
        await self._recount(None, "operator", waits=True)

    async def _recount(self, drop_ids: Sequence[int] | None, cause: str, *, waits: bool = False) -> None:
        lock_object = drop_ids[0] if drop_ids else WHOLE

        async def write_counts(connection: Connection) -> None:
            if waits:
                await wait_for_lock(connection, LockClass.MINT_RECOUNT, lock_object)
            elif not await try_lock(connection, LockClass.MINT_RECOUNT, lock_object):
                return
            for row in await connection.fetch(QUERIES["remaining_by_drop"], drop_ids, DROPS_LIMIT):
                labels = (row["tier"], row["year"], row["environment"])
                await failpoints.reach("recount.read")
                before = await self._bouncer.write(count_key(*labels), row["remaining"])
                metrics.SLOTS_REMAINING.labels(*labels).set(row["remaining"])
                metrics.HOLDS_LIVE.labels(*labels).set(row["held"])
                if before is not None:
                    metrics.BOUNCER_DRIFT.labels(*labels).set(before - row["remaining"])
            await failpoints.reach("recount.written")
            metrics.RECOUNTS.labels(cause).inc()

        await self._database.in_transaction(write_counts)
