"""Timed work: apply due changes of address, and delete old rows."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.identity.device_proof.spending import purge as purge_proofs
from services.reforge.delays import Delays
from services.reforge.email_application import apply_email_change
from services.reforge.statements import QUERIES, lock_membership

INTERVAL_S: Final = 5.0
PURGE_LIMIT: Final = 1_000
CHANGES_LIMIT: Final = 100


class Housekeeping:
    """One round of all timed work. Several processes may run it at once."""

    def __init__(self, database: Database, delays: Delays, *, mail_retention_d: int, request_retention_d: int) -> None:
        self._database = database
        self._delays = delays
        self._mail_retention_d = mail_retention_d
        self._request_retention_d = request_retention_d

    async def once(self) -> None:
        """Run one round. Each step is bounded, and a transaction of its own."""
        for change in await self._database.fetch(QUERIES["due_email_changes"], CHANGES_LIMIT):
            await self._apply(change["id"], change["membership_id"])
        await self._database.execute(QUERIES["cancel_unconfirmed_email_changes"], CHANGES_LIMIT)
        await purge_proofs(self._database)
        await self._database.execute(QUERIES["purge_mail"], self._mail_retention_d, PURGE_LIMIT)
        await self._database.execute(QUERIES["purge_requests"], self._request_retention_d, PURGE_LIMIT)
        await self._database.execute(QUERIES["purge_email_changes"], self._request_retention_d, PURGE_LIMIT)

    async def _apply(self, change_id: UUID, membership_id: UUID) -> None:
        async def work(connection: Connection) -> None:
            await lock_membership(connection, membership_id)
            await apply_email_change(connection, change_id, self._delays)

        await self._database.in_transaction(work)
