"""The service's statements, loaded once, and the few that every transaction of it begins or ends with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import UUID

import asyncpg

from services import audit_log
from services.ownership import require_owner, unknown_membership
from services.storage.connections import Connection
from services.storage.locks import REFORGE_MEMBERSHIP, wait_for_key
from services.storage.queries import Queries

QUERIES: Final = Queries.beside(__file__)


async def lock_membership(connection: Connection, membership_id: UUID) -> None:
    """Let no other change of this membership's device or address happen until the transaction ends."""
    await wait_for_key(connection, REFORGE_MEMBERSHIP, str(membership_id))


async def read_membership(connection: Connection, membership_id: UUID) -> asyncpg.Record:
    """Owner, active device and address. Raises NotFound."""
    row = await connection.fetchrow(QUERIES["read_membership"], membership_id)
    if row is None:
        raise unknown_membership()
    return row


def refuse_strangers(membership: asyncpg.Record, user_id: str) -> None:
    """Only the owner of a membership that is not revoked may go on. Raises Unauthorized."""
    require_owner(membership["user_id"], user_id, revoked=membership["revoked"])


async def append_moved(
    connection: Connection, membership_id: UUID, action: str, *, reason: str, details: Mapping[str, str]
) -> None:
    """Tell the other services, and the audit log, that the membership's device changed."""
    await connection.execute(QUERIES["append_moved_event"], membership_id)
    await audit_log.append(
        connection, actor="reforge", action=action, subject=str(membership_id), reason=reason, details=details
    )
