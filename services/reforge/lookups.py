"""From a token or an id to the request that it names."""

from __future__ import annotations

from typing import Final
from uuid import UUID

import asyncpg

from services.reforge.statements import QUERIES, lock_membership
from services.reforge.tokens import Purpose, digest, same_digest
from services.runtime.fields import known_uuid
from services.runtime.typed import pasted_token
from services.storage.connections import Connection
from services.storage.database import Database
from vyris.errors import NotFound

_BY_TOKEN: Final = {
    Purpose.MOVE: "find_by_token",
    Purpose.UNDO: "find_by_undo_token",
    Purpose.REFUSE_EMAIL: "find_email_change",
    Purpose.CONFIRM_EMAIL: "find_email_confirmation",
}
UNKNOWN_TOKEN: Final = "There is no such link; the newest mail has the right one"  # noqa: S105 - a sentence


async def subject_named_by(database: Database, purpose: Purpose, token: str) -> asyncpg.Record | None:
    """The row that a token of `purpose` names; its digest is compared in constant time."""
    wanted = digest(pasted_token(token))
    row = await database.fetchrow(QUERIES[_BY_TOKEN[purpose]], wanted)
    return row if row is not None and same_digest(row["digest"], wanted) else None


async def request_named_by(database: Database, purpose: Purpose, token: str) -> asyncpg.Record:
    """The request that a token names, as of now and not locked. Raises NotFound."""
    named = await subject_named_by(database, purpose, token)
    if named is None:
        raise NotFound(UNKNOWN_TOKEN)
    return await _read(database, named["id"])


async def request_with_id(database: Database, reforge_id: str) -> asyncpg.Record:
    """The request with this id, as of now and not locked. Raises NotFound."""
    return await _read(database, known_uuid(reforge_id, NotFound("There is no such request")))


async def locked_request(connection: Connection, found: asyncpg.Record) -> asyncpg.Record:
    """The same request once more, while nothing else can change its membership's device."""
    await lock_membership(connection, found["membership_id"])
    row = await connection.fetchrow(QUERIES["read_request"], found["id"])
    if row is None:
        raise NotFound("There is no such request")
    return row


async def _read(database: Database, reforge_id: UUID) -> asyncpg.Record:
    row = await database.fetchrow(QUERIES["read_request"], reforge_id)
    if row is None:
        raise NotFound("There is no such request")
    return row
