"""An operator changes the owner's address: after a delay, with a notice that lets the owner refuse.

If no address is on file, there is no mailbox to warn, and the change applies at once. For changes by devices see
`device_email_changes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from services.data import audit_log
from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.reforge.delays import Delays
from services.reforge.email_application import apply_email_change, notify_old_address
from services.reforge.rows import Membership
from services.reforge.statements import (
    QUERIES,
    cancel_open_email_change,
    lock_membership,
    read_email_change,
    read_membership,
)
from services.reforge.tokens import Purpose, TokenKey, digest
from services.server.runtime.times import rfc3339
from vyris.errors import InvalidRequest

# Prefix of `asked_by` for an operator's change. Without it an operator named "device" would look like a device.
OPERATOR: Final = "operator"


@dataclass(frozen=True, slots=True)
class RecordedChange:
    """A recorded change. `applied`: it took effect at once."""

    change_id: UUID
    effective_at: datetime
    applied: bool


class OperatorEmailChanges:
    """Records an operator's changes of address."""

    def __init__(self, database: Database, keys: TokenKey) -> None:
        self._database = database
        self._keys = keys

    async def change_by_operator(
        self, membership_id: UUID, email: str, *, operator: str, reason: str, delay_h: int
    ) -> RecordedChange:
        """Record an operator's change. It applies after `delay_h` hours, or at once if no address is on file.

        Raises NotFound (unknown membership), InvalidRequest (the address is on file already).
        """

        async def work(connection: Connection) -> RecordedChange:
            await lock_membership(connection, membership_id)
            membership = await read_membership(connection, membership_id)
            hours = 0 if membership.email is None else delay_h
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
        membership: Membership,
        email: str,
        asked_by: str,
        *,
        delay_h: int,
    ) -> RecordedChange:
        old_email = membership.email
        if old_email == email:
            raise InvalidRequest("This is the address on file already")
        change_id = uuid4()
        await cancel_open_email_change(connection, membership.id, only_by_device=False)
        row = await connection.fetchrow(
            QUERIES["insert_email_change"],
            change_id,
            membership.id,
            old_email,
            email,
            digest(self._keys.token(Purpose.REFUSE_EMAIL, change_id)),
            asked_by,
            delay_h,
        )
        assert row is not None  # noqa: S101 - RETURNING of one inserted row
        if row["due"]:
            # The owner had no time to refuse this change, so it overrules the device only for as long as it waited.
            await apply_email_change(connection, change_id, Delays(undo_h=0, email_h=delay_h))
        elif old_email is not None:
            change = await read_email_change(connection, change_id)
            await notify_old_address(connection, change, recipient=old_email, applied=False)
        return RecordedChange(change_id, row["effective_at"], row["due"])
