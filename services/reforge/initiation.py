"""Ask for a move: one transaction checks it, counts it, supersedes older requests, records it, and writes the mail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.identity.device_proof import ClaimedProof, DeviceProofs, VerifiedProof
from services.identity.device_proof.spending import spend
from services.identity.jose import PublicKey
from services.reforge import metrics
from services.reforge.mail_facts import request_facts
from services.reforge.outbox import MailKind, enqueue
from services.reforge.proof_checks import refuse_overruled
from services.reforge.rows import Membership
from services.reforge.settings import ReforgeSettings
from services.reforge.statements import (
    QUERIES,
    lock_membership,
    read_membership,
    read_request,
    refuse_strangers,
    supersede_pending,
)
from services.reforge.tokens import Purpose, TokenKey, digest
from vyris.errors import InvalidRequest, NotFound, RateLimited, Unauthorized


@dataclass(frozen=True, slots=True)
class RequestedMove:
    """A well-formed request to move a membership."""

    membership_id: UUID
    user_id: str
    old_device_id: str
    new_device_id: str
    new_key: PublicKey
    asked_from: str
    proof: ClaimedProof
    # Raises Unauthorized if the caller is not the user with this id.
    require_user: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PendingMove:
    """A recorded request. `code` is the code that the confirmation needs, or None."""

    reforge_id: UUID
    expires_at: datetime
    code: str | None


class Initiation:
    """Begins moves."""

    def __init__(self, database: Database, settings: ReforgeSettings, keys: TokenKey, proofs: DeviceProofs) -> None:
        self._database = database
        self._settings = settings
        self._keys = keys
        self._proofs = proofs

    async def begin(self, move: RequestedMove) -> PendingMove:
        """Record `move` and enqueue its mail.

        Raises NotFound (unknown membership or device), Unauthorized (not the owner, revoked, or a wrong proof),
        InvalidRequest (the move makes no sense), RateLimited.
        """

        async def work(connection: Connection) -> PendingMove:
            await lock_membership(connection, move.membership_id)
            membership = await read_membership(connection, move.membership_id)
            proof = await self._verify_proof(connection, move, membership)
            _refuse_impossible(move, membership)
            await self._refuse_excess(connection, membership, proven=proof is not None)
            await spend(connection, proof)
            return await self._record(connection, move, membership, proven=proof is not None)

        begun = await self._database.in_transaction(work)
        metrics.MOVES.labels("asked").inc()
        return begun

    async def _verify_proof(
        self, connection: Connection, move: RequestedMove, membership: Membership
    ) -> VerifiedProof | None:
        """Check owner and revocation, then the proof. Return None for a request without a proof.

        A proof is optional, because the old device may be lost, unless that device has recently refused or undone a
        move.
        """
        move.require_user(move.user_id)
        refuse_strangers(membership, move.user_id)
        thumbprint, delay_h = membership.thumbprint, self._settings.reforge_email_delay_h
        proof = None if move.proof.text is None else self._proofs.required(move.proof, enrolled_thumbprint=thumbprint)
        if proof is not None:
            await refuse_overruled(connection, move.membership_id, proof, window_h=delay_h)
        elif await connection.fetchval(QUERIES["device_objects_until"], move.membership_id, thumbprint, delay_h):
            raise Unauthorized(
                "The membership's device has refused a move, so a new one needs its proof (header DPoP); "
                "if the device is not in your hands, tell our support"
            )
        return proof

    async def _refuse_excess(self, connection: Connection, membership: Membership, *, proven: bool) -> None:
        settings = self._settings
        seconds = await connection.fetchval(
            QUERIES["seconds_limited"],
            membership.id,
            membership.email,
            proven,
            settings.reforge_proven_limit if proven else settings.reforge_unproven_limit,
            settings.reforge_address_limit,
            membership.verified,
        )
        if seconds is not None:
            raise RateLimited("Too many requests to move this membership", retry_after_s=max(1, seconds))

    async def _record(
        self, connection: Connection, move: RequestedMove, membership: Membership, *, proven: bool
    ) -> PendingMove:
        reforge_id = uuid4()
        code_required = self._settings.code_required and not proven
        await supersede_pending(connection, move.membership_id, also_proven=proven)
        await connection.execute(
            QUERIES["insert_request"],
            reforge_id,
            move.membership_id,
            proven,
            membership.device_id,
            membership.thumbprint,
            move.new_device_id,
            move.new_key.canonical,
            move.new_key.thumbprint,
            membership.email,
            move.asked_from,
            digest(self._keys.token(Purpose.MOVE, reforge_id)),
            digest(self._keys.token(Purpose.UNDO, reforge_id)),
            code_required,
            float(self._settings.reforge_ttl_s),
        )
        request = await read_request(connection, reforge_id)
        await enqueue(
            connection,
            MailKind.CONFIRM,
            reforge_id,
            recipient=request.email,
            facts=request_facts(request),
            useless_after=request.expires_at,
        )
        return PendingMove(reforge_id, request.expires_at, self._keys.code(reforge_id) if code_required else None)


def _refuse_impossible(move: RequestedMove, membership: Membership) -> None:
    """Refuse an unknown old device (404) and a move that makes no sense for this membership (422)."""
    active = membership.device_id
    if move.old_device_id and move.old_device_id != active:
        raise NotFound("old_device_id is not the membership's active device")
    if active is not None and not move.old_device_id:
        raise InvalidRequest("old_device_id is required, because the membership has an enrolled device")
    if move.new_device_id == active or move.new_key.thumbprint == membership.thumbprint:
        raise InvalidRequest("The new device is the one that holds the membership already")
    if membership.email is None:
        raise InvalidRequest("There is no e-mail address on file for this membership")
