"""Apply a change of address: write the address, and notify both addresses."""

from __future__ import annotations

from uuid import UUID

from services.data.storage.connections import Connection
from services.reforge.delays import Delays
from services.reforge.mail_facts import format_membership, format_time
from services.reforge.outbox import NOTICE_LIFETIME, MailKind, enqueue
from services.reforge.rows import EmailChange
from services.reforge.statements import QUERIES, read_email_change


async def apply_email_change(connection: Connection, change_id: UUID, delays: Delays) -> bool:
    """Apply the change if it is due. Return whether it took effect. Call it under the membership's lock."""
    if await connection.fetchval(QUERIES["apply_email_change"], change_id, delays.email_undo_h) is None:
        return False
    change = await read_email_change(connection, change_id)
    if change.old_email is not None:
        await notify_old_address(connection, change, recipient=change.old_email, applied=True)
        if not change.by_device and change.effective_at > change.created_at:
            await _notify_new_address(connection, change, delays)
    return True


async def notify_old_address(connection: Connection, change: EmailChange, *, recipient: str, applied: bool) -> None:
    """Notify the old address, because only its owner knows whether the change is right. A link keeps the address."""
    undo_until = change.undo_until if applied else None
    moment = change.applied_at if applied and change.applied_at is not None else change.effective_at
    await enqueue(
        connection,
        MailKind.EMAIL_CHANGE,
        change.id,
        recipient=recipient,
        facts={
            "membership": format_membership(change),
            "asked_at": format_time(change.created_at),
            "effective_at": format_time(moment),
            "applied": applied,
            "by_device": change.by_device,
            "undo_until": format_time(undo_until) if undo_until else "",
        },
        useless_after=undo_until or change.effective_at + NOTICE_LIFETIME,
    )


async def _notify_new_address(connection: Connection, change: EmailChange, delays: Delays) -> None:
    """Notify the new address that, after an operator's change, its mailbox overrules the device for a while."""
    assert change.applied_at is not None  # noqa: S101 - applied just now
    await enqueue(
        connection,
        MailKind.RECOVERED,
        change.id,
        recipient=change.new_email,
        facts={"membership": format_membership(change), "hours": delays.email_h},
        useless_after=change.applied_at + NOTICE_LIFETIME,
    )
