"""An operator changes where the owner can be reached: after a delay, with a notice that lets the owner refuse.

At once only where there is no address yet that could be warned. What devices ask for: `device_email_changes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

import asyncpg

from services import audit_log
from services.reforge.delays import Delays
from services.reforge.email_application import apply_email_change, notify_old_address
from services.reforge.statements import QUERIES, lock_membership, read_membership
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
    """Records an operator's changes of address."""

    def __init__(self, database: Database, keys: TokenKey) -> None:
        self._database = database
        self._keys = keys

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
            change = await self._record(connection, membership, email, f"{OPERATOR}:{operator}", delay_h=hours)
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
        delay_h: int,
    ) -> EmailChange:
        old_email = membership["email"]
        if old_email == email:
            raise InvalidRequest("This is the address on file already")
        change_id = uuid4()
        await connection.execute(QUERIES["drop_open_email_change"], membership["id"], False)
        row = await connection.fetchrow(
            QUERIES["insert_email_change"],
            change_id,
            membership["id"],
            old_email,
            email,
            digest(self._keys.token(Purpose.REFUSE_EMAIL, change_id)),
            asked_by,
            delay_h,
        )
        assert row is not None  # noqa: S101 - RETURNING of one inserted row
        if row["due"]:
            # Nobody had the time to refuse it: it counts for no longer than it waited.
            await apply_email_change(connection, change_id, Delays(undo_h=0, email_h=delay_h))
        elif old_email is not None:
            change = await connection.fetchrow(QUERIES["read_email_change"], change_id)
            assert change is not None  # noqa: S101 - inserted just now
            await notify_old_address(connection, change, recipient=old_email, applied=False)
        return EmailChange(change_id, row["effective_at"], row["due"])
