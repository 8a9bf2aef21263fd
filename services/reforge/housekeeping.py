"""What has to happen without being asked: changes of address take effect, old rows are forgotten."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from services.device_proof.spending import purge as purge_proofs
from services.reforge.statements import QUERIES
from services.storage.database import Database
from services.storage.failures import DatabaseFailed

log = structlog.get_logger(__name__)

INTERVAL_S: Final = 5.0
PURGE_LIMIT: Final = 1_000


class Housekeeping:
    """One task; several processes may run it at once."""

    def __init__(self, database: Database, *, mail_retention_d: int, request_retention_d: int) -> None:
        self._database = database
        self._mail_retention_d = mail_retention_d
        self._request_retention_d = request_retention_d

    async def run(self) -> None:
        """Keep house until cancelled."""
        while True:
            try:
                await self.once()
            except DatabaseFailed as problem:
                log.warning("housekeeping_failed", cause=problem.cause)
            except Exception as problem:
                # Tomorrow's round must come; the kind alone, because the text may hold an address.
                log.error("housekeeping_failed", problem=type(problem).__name__)
            await asyncio.sleep(INTERVAL_S)

    async def once(self) -> None:
        """One round; each step is bounded and its own transaction."""
        await self._database.fetch(QUERIES["apply_email_changes"], None)
        await purge_proofs(self._database)
        await self._database.execute(QUERIES["purge_mail"], self._mail_retention_d, PURGE_LIMIT)
        await self._database.execute(QUERIES["purge_requests"], self._request_retention_d, PURGE_LIMIT)
        await self._database.execute(QUERIES["purge_email_changes"], self._request_retention_d, PURGE_LIMIT)
