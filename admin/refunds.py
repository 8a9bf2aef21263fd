"""The operator's commands for refunds: paid receipts without a membership, and which of them are refunded.

    FAILED ──export──▶ REFUND_DUE ──paid back──▶ REFUNDED

A store's or merchant's own notification moves a receipt to REFUNDED as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from admin.statements import QUERIES
from services.data.audit_log import Actor, audited
from services.data.storage.connections import Connection
from services.data.storage.database import Database

ROWS_LIMIT: Final = 10_000
KEY_BYTES: Final = 32


class RefundDesk:
    """Lists and marks receipts; a change leaves an entry in the audit log. Every method raises DatabaseUnavailable."""

    def __init__(self, database: Database, actor: Actor) -> None:
        """`actor`: the name and the reason for the audit log."""
        self._database = database
        self._actor = actor

    async def failed(self, limit: int = ROWS_LIMIT) -> list[asyncpg.Record]:
        """Receipts that got no membership and are not marked for refund, oldest first."""
        return await self._database.fetch(QUERIES["list_receipts"], "FAILED", limit)

    async def due(self, limit: int = ROWS_LIMIT) -> list[asyncpg.Record]:
        """Paid receipts without a membership, exported or not."""
        return await self._database.fetch(QUERIES["list_refunds_due"], limit)

    async def not_restored(self, limit: int = ROWS_LIMIT) -> list[asyncpg.Record]:
        """Receipts whose refund was reversed after their number was sold again."""
        return await self._database.fetch(QUERIES["list_not_restored"], limit)

    async def export(self, limit: int = ROWS_LIMIT) -> list[asyncpg.Record]:
        """Mark receipts for a refund, so that they never mint, and return them."""

        async def work(connection: Connection) -> list[asyncpg.Record]:
            rows = await connection.fetch(QUERIES["export_refunds_due"], limit)
            await self._note(connection, "receipts.export", [row["receipt_key"] for row in rows])
            return rows

        return await audited(self._database, work)

    async def mark_refunded(self, keys: Sequence[bytes]) -> set[str]:
        """Mark exported receipts as refunded. Return the keys, in hex, of those that were exported."""

        async def work(connection: Connection) -> list[str]:
            rows = await connection.fetch(QUERIES["mark_refunded"], sorted(set(keys)))
            marked = [row["receipt_key"] for row in rows]
            await self._note(connection, "receipts.refunded", marked)
            return marked

        return set(await audited(self._database, work))

    async def states(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        """The states of those receipts that exist."""
        rows = await self._database.fetch(QUERIES["read_receipt_states"], keys)
        return {row["receipt_key"]: row["state"] for row in rows}

    async def _note(self, connection: Connection, action: str, keys: Sequence[str]) -> None:
        if keys:
            await self._actor.note(connection, action, f"{len(keys)} receipts", receipt_keys=keys)
