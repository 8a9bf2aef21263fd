"""Count the keys that count once per person in a drop, and make exceptions."""

from __future__ import annotations

import asyncpg

from admin.drops import Drop
from admin.statements import QUERIES
from services.data.audit_log import Actor, audited
from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.limits import PersonKeys


class NothingToWaive(Exception):
    """The message says why."""


async def count_keys(database: Database, drop: Drop) -> list[asyncpg.Record]:
    """Return how many keys of each kind count in a drop now. Raises DatabaseUnavailable."""
    return await database.fetch(QUERIES["count_keys"], drop.id)


async def waive_limits(database: Database, drop: Drop, user_id: str, actor: Actor) -> None:
    """Delete a user's counted keys, with all keys of the same hold or membership, and of ended ones.

    The hold or membership stays. Raises NothingToWaive, Retryable.
    """
    keys = await PersonKeys(database).of(drop.id, drop.limits, {"user": user_id})
    if not keys:
        raise NothingToWaive(
            f"The drop {drop.tier} {drop.year} counts nothing, or its keys were destroyed after its close"
        )

    async def work(connection: Connection) -> bool:
        rows = await connection.fetch(QUERIES["waive_keys"], drop.id, *keys[0])
        if rows:
            subject, kinds = f"{drop.tier} {drop.year}", sorted(row["kind"] for row in rows)
            await actor.note(connection, "limit.waive", subject, drop_id=drop.id, user_id=user_id, kinds=kinds)
        return bool(rows)

    if not await audited(database, work):
        raise NothingToWaive(f"Nothing is counted for {user_id} in {drop.tier} {drop.year}")
