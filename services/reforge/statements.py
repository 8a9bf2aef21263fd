"""The service's SQL, loaded once, and the statements that its transactions share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias
from uuid import UUID

from services.data import audit_log
from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.data.storage.locks import REFORGE_MEMBERSHIP, wait_for_key
from services.data.storage.queries import Queries
from services.identity.ownership import require_owner, unknown_membership
from services.reforge.rows import EmailChange, Membership, Request
from vyris.errors import NotFound

QUERIES: Final = Queries.beside(__file__)
UNKNOWN_TOKEN: Final = "There is no such link; the newest mail has the right one"  # noqa: S105 - a sentence

Reader: TypeAlias = "Connection | Database"


async def lock_membership(connection: Connection, membership_id: UUID) -> None:
    """Block other changes of this membership's device or address until the transaction ends."""
    await wait_for_key(connection, REFORGE_MEMBERSHIP, str(membership_id))


async def read_membership(connection: Connection, membership_id: UUID) -> Membership:
    """Read owner, active device and address. Raises NotFound."""
    row = await connection.fetchrow(QUERIES["read_membership"], membership_id)
    if row is None:
        raise unknown_membership()
    return Membership(**dict(row))


async def read_request(reader: Reader, request_id: UUID) -> Request:
    """Read a request to move. Raises NotFound."""
    row = await reader.fetchrow(QUERIES["read_request"], request_id)
    if row is None:
        raise NotFound("There is no such request")
    return Request(**dict(row))


async def read_email_change(reader: Reader, change_id: UUID) -> EmailChange:
    """Read a change of address. Raises NotFound."""
    row = await reader.fetchrow(QUERIES["read_email_change"], change_id)
    if row is None:
        raise NotFound(UNKNOWN_TOKEN)
    return EmailChange(**dict(row))


def refuse_strangers(membership: Membership, user_id: str) -> None:
    """Refuse callers other than the owner, and revoked memberships. Raises Unauthorized."""
    require_owner(membership.user_id, user_id, revoked=membership.revoked)


async def cancel_open_email_change(connection: Connection, membership_id: UUID, *, only_by_device: bool) -> None:
    """Cancel the membership's open change of address. `only_by_device`: an operator's change stays."""
    await connection.execute(QUERIES["cancel_open_email_change"], membership_id, only_by_device)


async def supersede_pending(connection: Connection, membership_id: UUID, *, also_proven: bool) -> None:
    """Supersede the membership's pending requests. Without `also_proven`, those with a proof stay."""
    await connection.execute(QUERIES["supersede_pending"], membership_id, also_proven)


async def append_moved(
    connection: Connection, membership_id: UUID, action: str, *, reason: str, details: Mapping[str, str]
) -> None:
    """Append the change of device to `membership_events`, for the other services, and to the audit log."""
    await connection.execute(QUERIES["append_moved_event"], membership_id)
    await audit_log.append(
        connection, actor="reforge", action=action, subject=str(membership_id), reason=reason, details=details
    )
