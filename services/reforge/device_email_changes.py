"""A device asks for another address. A device alone cannot change it.

1. The device asks, with a proof. The new address gets a link that confirms it, the old one a link that refuses it.
2. The new address confirms. Without confirmation the change expires.
3. After the delay the change takes effect. The old address gets a notice, and can undo the change for as long again.

These changes never replace an operator's change. Without an old address there is no mailbox to warn. The change still
waits, and the device can list and refuse it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from services.data import audit_log
from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.identity.device_proof import ClaimedProof, DeviceProofs
from services.identity.device_proof.spending import spend
from services.identity.ownership import require_live
from services.reforge.delays import Delays
from services.reforge.email_application import apply_email_change, notify_old_address
from services.reforge.lookups import find_subject
from services.reforge.mail_facts import format_membership, format_time
from services.reforge.outbox import MailKind, enqueue
from services.reforge.proof_checks import refuse_overruled, require_proof
from services.reforge.rows import EmailChange, Membership
from services.reforge.statements import (
    QUERIES,
    UNKNOWN_TOKEN,
    cancel_open_email_change,
    lock_membership,
    read_email_change,
    read_membership,
    refuse_strangers,
)
from services.reforge.tokens import Purpose, TokenKey, digest
from vyris.errors import Conflict, Expired, InvalidRequest, NotFound, RateLimited


@dataclass(frozen=True, slots=True)
class RequestedChange:
    """A well-formed request for another address."""

    membership_id: UUID
    user_id: str
    email: str
    proof: ClaimedProof
    # Raises Unauthorized if the caller is not the user with this id.
    require_user: Callable[[str], None]


class DeviceEmailChanges:
    """Changes of address that devices ask for."""

    def __init__(
        self, database: Database, keys: TokenKey, proofs: DeviceProofs, delays: Delays, *, limit_per_hour: int
    ) -> None:
        self._database = database
        self._keys = keys
        self._proofs = proofs
        self._delays = delays
        self._limit_per_hour = limit_per_hour

    async def ask(self, change: RequestedChange) -> datetime:
        """Record the change and return the time at which it takes effect.

        Raises NotFound (unknown membership), Unauthorized (not the owner, or no valid proof by the active device),
        RateLimited, InvalidRequest (the address is on file already), Conflict (an operator's change is open).
        """

        async def work(connection: Connection) -> datetime:
            await lock_membership(connection, change.membership_id)
            membership = await read_membership(connection, change.membership_id)
            change.require_user(change.user_id)
            refuse_strangers(membership, change.user_id)
            proof = self._proofs.verified(change.proof, thumbprint=membership.thumbprint)
            await refuse_overruled(connection, change.membership_id, proof, window_h=self._delays.email_h)
            await self._refuse_excess(connection, change.membership_id)
            await spend(connection, proof)
            if membership.email == change.email:
                raise InvalidRequest("This is the address on file already")
            if await connection.fetchval(QUERIES["has_open_operator_change"], change.membership_id):
                raise Conflict("Support is changing this address already")
            return await self._record(connection, membership, change.email)

        return await self._database.in_transaction(work)

    async def refuse(self, membership_id: UUID, proof: ClaimedProof) -> None:
        """Refuse the open change that a device asked for, with the active device's proof.

        Raises NotFound, Unauthorized.
        """

        async def work(connection: Connection) -> None:
            await lock_membership(connection, membership_id)
            membership = await read_membership(connection, membership_id)
            require_live(revoked=membership.revoked)
            verified = require_proof(self._proofs, proof, membership.thumbprint)
            await spend(connection, verified)
            change_id = await connection.fetchval(QUERIES["refuse_device_change"], membership_id)
            if change_id is None:
                raise NotFound("No change of address by a device is on its way")
            await audit_log.append(
                connection,
                actor="reforge",
                action="email.change_refused",
                subject=str(membership_id),
                reason="refused by the active device",
                details={"change_id": str(change_id)},
            )

        await self._database.in_transaction(work)

    async def find_change(self, token: str) -> EmailChange | None:
        """Read the change that belongs to a token sent to the new address; None for any other token."""
        found = await find_subject(self._database, Purpose.CONFIRM_EMAIL, token)
        return None if found is None else await read_email_change(self._database, found.id)

    async def confirm(self, token: str) -> None:
        """Confirm the change with the token sent to the new address. Raises NotFound, Expired."""
        found = await self.find_change(token)
        if found is None:
            raise NotFound(UNKNOWN_TOKEN)

        async def work(connection: Connection) -> None:
            await lock_membership(connection, found.membership_id)
            change = await read_email_change(connection, found.id)
            require_confirmable_change(change)
            await connection.execute(QUERIES["confirm_email_change"], change.id)
            await audit_log.append(
                connection,
                actor="reforge",
                action="email.change_confirmed",
                subject=str(change.membership_id),
                reason="confirmed by the link in the new mailbox",
                details={"change_id": str(change.id)},
            )
            if change.due:
                await apply_email_change(connection, change.id, self._delays)

        await self._database.in_transaction(work)

    async def _refuse_excess(self, connection: Connection, membership_id: UUID) -> None:
        seconds = await connection.fetchval(QUERIES["seconds_until_email_change"], membership_id, self._limit_per_hour)
        if seconds is not None:
            raise RateLimited("Too many changes of this membership's address", retry_after_s=max(1, seconds))

    async def _record(self, connection: Connection, membership: Membership, email: str) -> datetime:
        change_id = uuid4()
        await cancel_open_email_change(connection, membership.id, only_by_device=True)
        times = await connection.fetchrow(
            QUERIES["insert_device_change"],
            change_id,
            membership.id,
            membership.email,
            email,
            digest(self._keys.token(Purpose.REFUSE_EMAIL, change_id)),
            digest(self._keys.token(Purpose.CONFIRM_EMAIL, change_id)),
            await connection.fetchval(QUERIES["moves_undoable_until"], membership.id),
            self._delays.email_h,
        )
        assert times is not None  # noqa: S101 - RETURNING of one inserted row
        await enqueue(
            connection,
            MailKind.EMAIL_CONFIRM,
            change_id,
            recipient=email,
            facts={
                "membership": format_membership(membership),
                "asked_at": format_time(times["created_at"]),
                "confirm_until": format_time(times["confirm_until"]),
            },
            useless_after=times["confirm_until"],
        )
        if membership.email is not None:
            change = await read_email_change(connection, change_id)
            await notify_old_address(connection, change, recipient=membership.email, applied=False)
        effective_at: datetime = times["effective_at"]
        return effective_at


def require_confirmable_change(change: EmailChange) -> None:
    """Require that the new address can still confirm a change. Raises Expired."""
    if change.confirmed_at is not None:
        raise Expired("This address was confirmed already")
    if not change.open:
        raise Expired("This change of address came to nothing")
    if change.past_confirmation:
        raise Expired("This link has expired")
