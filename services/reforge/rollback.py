"""Undo a move or a change of address: restore the device and the address from before.

Later moves, and later changes of address by devices, are undone too. Otherwise a thief could keep a membership by one
more step. An operator's changes stay: they have their own link.
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from services.data.storage.connections import Connection
from services.reforge.mail_facts import format_membership, request_facts
from services.reforge.outbox import NOTICE_LIFETIME, MailKind, enqueue
from services.reforge.rows import EmailChange, Request
from services.reforge.statements import QUERIES, append_moved, cancel_open_email_change, supersede_pending
from vyris.errors import Expired

EndedBy = Literal["device", "mailbox"]


async def undo_move(connection: Connection, request: Request, by: EndedBy) -> None:
    """Undo a move: the previous device, if any, is active again. Call it under the membership's lock."""
    assert request.undo_until is not None  # noqa: S101 - a confirmed move has a time in which it can be undone
    membership_id = request.membership_id
    reason = "undone by the old device" if by == "device" else "undone by the link in the owner's mailbox"
    await _restore_device(connection, membership_id, request.id, request.old_thumbprint, by, reason)
    restored = await connection.fetchval(QUERIES["undo_email_changes"], membership_id, request.decided_at)
    await _drop_open_requests(connection, membership_id)
    for recipient in {request.email, restored or request.email}:
        await enqueue(
            connection,
            MailKind.UNDONE,
            request.id,
            recipient=recipient,
            facts={**request_facts(request), "by_device": by == "device"},
            useless_after=request.undo_until + NOTICE_LIFETIME,
        )


async def undo_email_change(connection: Connection, change: EmailChange) -> None:
    """Restore the old address, and undo the moves that were confirmed at the new one.

    Call it under the membership's lock. Raises Expired if an operator has changed the address since.
    """
    assert change.undo_until is not None  # noqa: S101 - so has a change that was applied
    membership_id = change.membership_id
    if await connection.fetchval(QUERIES["undo_email_changes"], membership_id, change.applied_at) is None:
        raise Expired("Support has changed the address since, so this change cannot be taken back")
    move = await connection.fetchrow(QUERIES["first_move_since"], membership_id, change.applied_at)
    if move is not None:
        reason = "undone with a change of address by the link in the old mailbox"
        await _restore_device(connection, membership_id, move["id"], move["old_thumbprint"], "mailbox", reason)
    await _drop_open_requests(connection, membership_id)
    await enqueue(
        connection,
        MailKind.EMAIL_UNDONE,
        change.id,
        recipient=change.new_email,
        facts={"membership": format_membership(change)},
        useless_after=change.undo_until + NOTICE_LIFETIME,
    )


async def _restore_device(
    connection: Connection, membership_id: UUID, move_id: UUID, old_thumbprint: str | None, by: EndedBy, reason: str
) -> None:
    await connection.execute(QUERIES["retire_device"], membership_id)
    if old_thumbprint is not None:
        await connection.execute(QUERIES["reactivate_device"], membership_id, old_thumbprint)
    await connection.execute(QUERIES["mark_undone"], move_id, by)
    details = {"reforge_id": str(move_id)}
    await append_moved(connection, membership_id, "reforge.undone", reason=reason, details=details)


async def _drop_open_requests(connection: Connection, membership_id: UUID) -> None:
    await cancel_open_email_change(connection, membership_id, only_by_device=True)
    await supersede_pending(connection, membership_id, also_proven=True)
