"""List, read and release holds."""

from __future__ import annotations

from typing import Final
from uuid import UUID

import asyncpg

from admin.drops import Drop
from admin.statements import QUERIES
from services.data.audit_log import Actor, audited
from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.holds.ending import end_hold
from services.holds.statements import QUERIES as HOLD_QUERIES

STATES: Final = ("HELD", "USED", "RELEASED", "LAPSED")


async def list_holds(
    database: Database, drop: Drop, *, state: str | None, user_id: str | None, limit: int
) -> list[asyncpg.Record]:
    """Return at most `limit` holds of a drop, newest first; only those in `state` and of `user_id` if given.

    Raises DatabaseUnavailable.
    """
    return await database.fetch(QUERIES["list_holds"], drop.id, state, user_id, limit)


async def read_hold(database: Database, hold_id: UUID) -> asyncpg.Record | None:
    """Return a hold with its state, or None. Raises DatabaseUnavailable."""
    return await database.fetchrow(HOLD_QUERIES["read_hold"], hold_id)


async def release_hold(database: Database, hold_id: UUID, actor: Actor) -> bool:
    """End a hold. Return False if it is unknown or has ended. Raises DatabaseUnavailable.

    Its number goes to the first late payer in line, or is for sale again.
    """

    async def work(connection: Connection) -> bool:
        ended = await end_hold(connection, hold_id, "RELEASED")
        if ended is None:
            return False
        drop_id, returned = ended
        await actor.note(connection, "hold.release", str(hold_id), drop_id=drop_id, offered=returned.offered)
        return True

    return await audited(database, work)
