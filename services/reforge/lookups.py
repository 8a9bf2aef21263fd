"""Find a request by its token or its id."""

from __future__ import annotations

from typing import Final

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.reforge.rows import Request, Subject
from services.reforge.statements import QUERIES, UNKNOWN_TOKEN, lock_membership, read_request
from services.reforge.tokens import Purpose, digest, same_digest
from services.server.runtime.fields import known_uuid
from services.server.runtime.typed import pasted_token
from vyris.errors import NotFound

_BY_TOKEN: Final = {
    Purpose.MOVE: "find_by_token",
    Purpose.UNDO: "find_by_undo_token",
    Purpose.REFUSE_EMAIL: "find_email_change",
    Purpose.CONFIRM_EMAIL: "find_email_confirmation",
}


async def find_subject(database: Database, purpose: Purpose, token: str) -> Subject | None:
    """Find the row of a token, or None. The digest is compared in constant time."""
    wanted = digest(pasted_token(token))
    row = await database.fetchrow(QUERIES[_BY_TOKEN[purpose]], wanted)
    return Subject(**dict(row)) if row is not None and same_digest(row["digest"], wanted) else None


async def find_request(database: Database, purpose: Purpose, token: str) -> Request:
    """Find a request by its token, without a lock. Raises NotFound."""
    found = await find_subject(database, purpose, token)
    if found is None:
        raise NotFound(UNKNOWN_TOKEN)
    return await read_request(database, found.id)


async def find_request_by_id(database: Database, reforge_id: str) -> Request:
    """Find a request by its id, without a lock. Raises NotFound."""
    return await read_request(database, known_uuid(reforge_id, NotFound("There is no such request")))


async def lock_request(connection: Connection, found: Request) -> Request:
    """Lock the membership and read the request again, so that its device cannot change. Raises NotFound."""
    await lock_membership(connection, found.membership_id)
    return await read_request(connection, found.id)
