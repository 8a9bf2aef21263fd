"""Where the owner can be reached, and who may change that.

By a proof of the active device: at once, or when a move that could still be
undone no longer can. By the operator: after a delay, with a notice that lets the
owner refuse. At once only where there is no address yet that could be warned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

import asyncpg

from services import audit_log
from services.device_proof import ClaimedProof, DeviceProofs
from services.device_proof.spending import spend
from services.reforge.mail_facts import shown_membership, shown_time
from services.reforge.outbox import NOTICE_LIFETIME, MailKind, enqueue
from services.reforge.statements import QUERIES, lock_membership, read_membership, refuse_strangers
from services.reforge.tokens import Purpose, TokenKey, digest
from services.runtime.times import rfc3339
from services.storage.connections import Connection
from services.storage.database import Database
from vyris.errors import InvalidRequest

# What asked_by begins with for an operator's change. An operator may be called "device".
OPERATOR: Final = "operator"


@dataclass(frozen=True, slots=True)
class EmailChange:
    """A change as recorded."""

    change_id: UUID
    effective_at: datetime
    applied: bool


class EmailChanges:
    """Records changes of address."""

    def __init__(self, database: Database, keys: TokenKey, proofs: DeviceProofs) -> None:
        self._database = database
        self._keys = keys
        self._proofs = proofs

    async def change_by_device(
        self,
        membership_id: UUID,
        user_id: str,
        email: str,
        proof: ClaimedProof,
        require_user: Callable[[str], None],
    ) -> EmailChange:
        """Change by the membership's active device. Raises NotFound, Unauthorized, InvalidRequest."""

        async def work(connection: Connection) -> EmailChange:
            await lock_membership(connection, membership_id)
            membership = await read_membership(connection, membership_id)
            require_user(user_id)
            refuse_strangers(membership, user_id)
            verified = self._proofs.verified(proof, thumbprint=membership["thumbprint"])
            await spend(connection, verified)
            hold_until = await connection.fetchval(QUERIES["undo_hold"], membership_id)
            return await self._record(connection, membership, email, "device", at=hold_until, delay_h=0)

        return await self._database.in_transaction(work)

    async def change_by_operator(
        self, membership_id: UUID, email: str, *, operator: str, reason: str, delay_h: int
    ) -> EmailChange:
        """Change by the operator, `delay_h` hours from now where an address is on file.

        Raises NotFound, InvalidRequest.
        """

        async def work(connection: Connection) -> EmailChange:
            await lock_membership(connection, membership_id)
            membership = await read_membership(connection, membership_id)
            hours = 0 if membership["email"] is None else delay_h
            asked_by = f"{OPERATOR}:{operator}"
            change = await self._record(connection, membership, email, asked_by, at=None, delay_h=hours)
            details = {
                "change_id": str(change.change_id),
                "delay_h": hours,
                "effective_at": rfc3339(change.effective_at),
            }
            await audit_log.append(
                connection,
                actor=operator,
                action="email.change_asked",
                subject=str(membership_id),
                reason=reason,
                details=details,
            )
            return change

        return await self._database.in_transaction(work)

    async def _record(
        self,
        connection: Connection,
        membership: asyncpg.Record,
        email: str,
        asked_by: str,
        *,
        at: datetime | None,
        delay_h: int,
    ) -> EmailChange:
        old_email = membership["email"]
        if old_email == email:
            raise InvalidRequest("This is the address on file already")
        change_id = uuid4()
        await connection.execute(QUERIES["drop_open_email_change"], membership["id"])
        row = await connection.fetchrow(
            QUERIES["insert_email_change"],
            change_id,
            membership["id"],
            old_email,
            email,
            digest(self._keys.token(Purpose.REFUSE_EMAIL, change_id)),
            asked_by,
            at,
            delay_h,
        )
        assert row is not None  # noqa: S101 - RETURNING of one inserted row
        if row["due"]:
            await connection.fetchval(QUERIES["apply_email_change"], change_id)
        if old_email is not None:
            await _notify(connection, change_id, membership, row, asked_by=asked_by)
        return EmailChange(change_id, row["effective_at"], row["due"])


async def _notify(
    connection: Connection, change_id: UUID, membership: asyncpg.Record, change: asyncpg.Record, *, asked_by: str
) -> None:
    """Tell the old address, which alone can tell whether this is right."""
    await enqueue(
        connection,
        MailKind.EMAIL_CHANGE,
        change_id,
        recipient=membership["email"],
        facts={
            "membership": shown_membership(membership),
            "asked_at": shown_time(change["created_at"]),
            "effective_at": shown_time(change["effective_at"]),
            "applied": change["due"],
            "asked_by": OPERATOR if asked_by.startswith(f"{OPERATOR}:") else "device",
        },
        useless_after=change["effective_at"] + NOTICE_LIFETIME,
    )
