"""Refuse or undo a move or a change of address.

For a device the contract sets the order of checks: the membership exists (404), it is not revoked (401), the proof is
valid and counts (401), the move exists (404), the move is in the right state (410).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.data import audit_log
from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.identity.device_proof import ClaimedProof, DeviceProofs, VerifiedProof, named_thumbprint
from services.identity.device_proof.spending import spend
from services.identity.ownership import known_membership_id, require_live
from services.reforge import metrics
from services.reforge.confirmation import ENDED, require_confirmable
from services.reforge.delays import Delays
from services.reforge.lookups import (
    find_request,
    find_request_by_id,
    find_subject,
    lock_request,
)
from services.reforge.mail_facts import request_facts
from services.reforge.outbox import NOTICE_LIFETIME, MailKind, enqueue
from services.reforge.proof_checks import MISSING, refuse_overruled, require_proof
from services.reforge.rollback import EndedBy, undo_email_change, undo_move
from services.reforge.rows import EmailChange, Membership, Request
from services.reforge.statements import QUERIES, lock_membership, read_email_change, read_membership, read_request
from services.reforge.tokens import Purpose
from vyris.errors import Expired, NotFound, Unauthorized


@dataclass(frozen=True, slots=True)
class NamedMove:
    """The move that a device names: by its id, or (with None) the newest one of the membership."""

    membership_id: UUID
    reforge_id: UUID | None


class Reversal:
    """Refuses pending moves and changes of address, and undoes confirmed moves."""

    def __init__(self, database: Database, proofs: DeviceProofs, delays: Delays) -> None:
        self._database = database
        self._proofs = proofs
        self._delays = delays

    async def find_move(self, *, reforge_id: str, membership_id: str) -> NamedMove:
        """Find the move that a device names. Exactly one of the two ids is not empty. Raises NotFound."""
        if membership_id:
            return NamedMove(known_membership_id(membership_id), None)
        found = await find_request_by_id(self._database, reforge_id)
        return NamedMove(found.membership_id, found.id)

    async def refuse_by_token(self, token: str) -> None:
        """Refuse the move or the change of address that a mail's token belongs to. Raises NotFound, Expired."""
        change = await find_subject(self._database, Purpose.REFUSE_EMAIL, token)
        if change is not None:
            return await self._refuse_email_change(change.id, change.membership_id)
        found = await find_request(self._database, Purpose.MOVE, token)

        async def work(connection: Connection) -> None:
            await _refuse(connection, await lock_request(connection, found), "mailbox")

        await self._database.in_transaction(work)
        return metrics.MOVES.labels("refused").inc()

    async def refuse_by_device(self, move: NamedMove, proof: ClaimedProof) -> None:
        """Refuse a pending move with the active device's proof. Raises NotFound, Unauthorized, Expired."""

        async def work(connection: Connection) -> None:
            membership = await _lock_live_membership(connection, move.membership_id)
            verified = require_proof(self._proofs, proof, membership.thumbprint)
            await refuse_overruled(connection, move.membership_id, verified, window_h=self._delays.email_h)
            await spend(connection, verified)
            move_id = move.reforge_id or await connection.fetchval(QUERIES["newest_pending"], move.membership_id)
            if move_id is None:
                raise NotFound("No request to move this membership is pending")
            await _refuse(connection, await read_request(connection, move_id), "device")

        await self._database.in_transaction(work)
        metrics.MOVES.labels("refused").inc()

    async def undo_by_token(self, token: str) -> UUID:
        """Undo the move that a notice's token belongs to. Return the membership's id. Raises NotFound, Expired."""
        found = await find_request(self._database, Purpose.UNDO, token)

        async def work(connection: Connection) -> UUID:
            return await _undo(connection, await lock_request(connection, found), "mailbox")

        return await self._run_undo(work)

    async def undo_by_device(self, move: NamedMove, proof: ClaimedProof) -> UUID:
        """Undo a move with the previous device's proof. Return the membership's id.

        Raises NotFound, Unauthorized, Expired.
        """

        async def work(connection: Connection) -> UUID:
            membership = await _lock_live_membership(connection, move.membership_id)
            verified, request = await self._find_undoable_move(connection, move, membership.thumbprint, proof)
            await refuse_overruled(
                connection,
                move.membership_id,
                verified,
                window_h=self._delays.email_h,
                moment=request.decided_at,
            )
            await spend(connection, verified)
            return await _undo(connection, request, "device")

        return await self._run_undo(work)

    async def _find_undoable_move(
        self, connection: Connection, move: NamedMove, active: str | None, proof: ClaimedProof
    ) -> tuple[VerifiedProof, Request]:
        """Verify the proof, and find the move away from its device."""
        if move.reforge_id is not None:
            request = await read_request(connection, move.reforge_id)
            return require_proof(self._proofs, proof, request.old_thumbprint), request
        if proof.text is None:
            raise Unauthorized(MISSING)
        thumbprint = named_thumbprint(proof.text)
        move_id = await connection.fetchval(QUERIES["newest_move_from"], move.membership_id, thumbprint)
        if move_id is None:
            self._proofs.verified(proof, thumbprint=active)
            raise NotFound("No move of this membership away from this device can be taken back")
        return self._proofs.verified(proof, thumbprint=thumbprint), await read_request(connection, move_id)

    async def _run_undo(self, work: Callable[[Connection], Awaitable[UUID]]) -> UUID:
        undone = await self._database.in_transaction(work)
        metrics.MOVES.labels("undone").inc()
        return undone

    async def _refuse_email_change(self, change_id: UUID, membership_id: UUID) -> None:
        """Refuse an open change of address, or undo an applied one, for the old mailbox."""

        async def work(connection: Connection) -> None:
            await lock_membership(connection, membership_id)
            change = await read_email_change(connection, change_id)
            require_refusable_change(change)
            if change.open:
                await connection.execute(QUERIES["refuse_email_change"], change_id)
            else:
                await undo_email_change(connection, change)
            await audit_log.append(
                connection,
                actor="reforge",
                action="email.change_refused" if change.open else "email.change_undone",
                subject=str(membership_id),
                reason="refused by the link in the old mailbox",
                details={"change_id": str(change_id)},
            )

        await self._database.in_transaction(work)


async def _lock_live_membership(connection: Connection, membership_id: UUID) -> Membership:
    await lock_membership(connection, membership_id)
    membership = await read_membership(connection, membership_id)
    require_live(revoked=membership.revoked)
    return membership


async def _refuse(connection: Connection, request: Request, by: EndedBy) -> None:
    require_confirmable(request)
    if await connection.fetchval(QUERIES["mark_refused"], request.id, by) is None:
        raise Expired(ENDED["SUPERSEDED"])
    await audit_log.append(
        connection,
        actor="reforge",
        action="reforge.refused",
        subject=str(request.membership_id),
        reason="refused by the active device" if by == "device" else "refused by the link in the owner's mailbox",
        details={"reforge_id": str(request.id)},
    )
    if by == "device":
        await enqueue(
            connection,
            MailKind.REFUSED,
            request.id,
            recipient=request.email,
            facts=request_facts(request),
            useless_after=request.expires_at + NOTICE_LIFETIME,
        )


async def _undo(connection: Connection, request: Request, by: EndedBy) -> UUID:
    require_undoable(request)
    await undo_move(connection, request, by)
    return request.membership_id


def require_undoable(request: Request) -> datetime:
    """Require that a move can still be undone; returns until when. Raises Expired."""
    if request.state == "UNDONE":
        raise Expired("This move was taken back already")
    if request.state != "CONFIRMED":
        raise Expired("There is no move that could be taken back")
    if request.undo_until is None or not request.can_be_undone:
        raise Expired("The time in which this move could be taken back is over")
    # Undoing a move also undoes the later ones. Otherwise a thief could keep the membership by a second move.
    if request.revoked or request.active_thumbprint != request.moved_to:
        raise Expired("The membership has changed since, so this move cannot be taken back")
    return request.undo_until


def require_refusable_change(change: EmailChange) -> None:
    """Require that a change of address can still be refused or undone. Raises Expired."""
    if not change.open and not change.can_be_undone:
        raise Expired("This change of address can no longer be refused")
