"""Delete the locations of old encounters. The encounters themselves stay."""

from __future__ import annotations

from typing import Final

import structlog

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.data.storage.locks import LockClass, try_lock
from services.encounter import metrics
from services.encounter.statements import QUERIES

ROWS_A_ROUND: Final = 1_000
INTERVAL_S: Final = 60.0
# The pause between rounds while there is more to delete.
BREATH_S: Final = 0.05

log = structlog.get_logger(__name__)


class LocationRetention:
    """Deletes locations of encounters that are older than `retention_days`."""

    def __init__(self, database: Database, retention_days: int) -> None:
        self._database = database
        self._retention_days = retention_days

    async def once(self) -> bool:
        """Run one round. Return True if there may be more to delete. Raises Retryable."""
        return await self.forget() == ROWS_A_ROUND

    async def forget(self) -> int:
        """Delete at most a thousand locations. Return how many; 0 if another process does it now. Raises Retryable."""
        forgotten = await self._database.in_transaction(self._forget)
        if forgotten:
            metrics.LOCATIONS_FORGOTTEN.inc(forgotten)
            log.info("locations_forgotten", encounters=forgotten)
        return forgotten

    async def _forget(self, connection: Connection) -> int:
        if not await try_lock(connection, LockClass.ENCOUNTER_RETENTION):
            return 0
        return len(await connection.fetch(QUERIES["forget_locations"], self._retention_days, ROWS_A_ROUND))
