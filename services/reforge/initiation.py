"""Asking for a move: one transaction that judges, counts, supersedes, records, and writes the mail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

import asyncpg

from services.device_proof import ClaimedProof, DeviceProofs, VerifiedProof
from services.device_proof.spending import spend
from services.jose import PublicKey
from services.reforge import metrics
from services.reforge.device_say import refuse_overruled
from services.reforge.mail_facts import request_facts
from services.reforge.outbox import MailKind, enqueue
from services.reforge.settings import ReforgeSettings
from services.reforge.statements import QUERIES, lock_membership, read_membership, refuse_strangers
from services.reforge.tokens import Purpose, TokenKey, digest
from services.storage.connections import Connection
from services.storage.database import Database
from vyris.errors import InvalidRequest, NotFound, RateLimited, Unauthorized


@dataclass(frozen=True, slots=True)
class Wish:
    """A well-formed request to move a membership."""

    membership_id: UUID
    user_id: str
    old_device_id: str
    new_device_id: str
    new_key: PublicKey
    asked_from: str
    proof: ClaimedProof
    # Raises Unauthorized for a caller who is not the user that he names.
    require_user: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Begun:
    """The request as recorded; `code` where the confirmation will ask for one."""

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

    async def begin(self, wish: Wish) -> Begun:
        """Record `wish` and have its mail sent. Raises NotFound, Unauthorized, InvalidRequest, RateLimited."""

        async def work(connection: Connection) -> Begun:
            await lock_membership(connection, wish.membership_id)
            membership = await read_membership(connection, wish.membership_id)
            proof = await self._prove(connection, wish, membership)
            _refuse_impossible(wish, membership)
            await self._refuse_excess(connection, membership, proven=proof is not None)
            await spend(connection, proof)
            return await self._record(connection, wish, membership, proven=proof is not None)

        begun = await self._database.in_transaction(work)
        metrics.MOVES.labels("asked").inc()
        return begun

    async def _prove(self, connection: Connection, wish: Wish, membership: asyncpg.Record) -> VerifiedProof | None:
        """Owner and revocation, then the proof. A proof makes the request a proven one.

        None is required, because the old device may be lost, unless that device has just objected to a move.
        """
        wish.require_user(wish.user_id)
        refuse_strangers(membership, wish.user_id)
        thumbprint, delay_h = membership["thumbprint"], self._settings.reforge_email_delay_h
        proof = None if wish.proof.text is None else self._proofs.required(wish.proof, enrolled_thumbprint=thumbprint)
        if proof is not None:
            await refuse_overruled(connection, wish.membership_id, proof, window_h=delay_h)
        elif await connection.fetchval(QUERIES["device_objects_until"], wish.membership_id, thumbprint, delay_h):
            raise Unauthorized(
                "The membership's device has refused a move, so a new one needs its proof (header DPoP); "
                "if the device is not in your hands, tell our support"
            )
        return proof

    async def _refuse_excess(self, connection: Connection, membership: asyncpg.Record, *, proven: bool) -> None:
        settings = self._settings
        seconds = await connection.fetchval(
            QUERIES["seconds_limited"],
            membership["id"],
            membership["email"],
            proven,
            settings.reforge_proven_limit if proven else settings.reforge_unproven_limit,
            settings.reforge_address_limit,
            membership["verified"],
        )
        if seconds is not None:
            raise RateLimited("Too many requests to move this membership", retry_after_s=max(1, seconds))

    async def _record(self, connection: Connection, wish: Wish, membership: asyncpg.Record, *, proven: bool) -> Begun:
        reforge_id = uuid4()
        code_required = self._settings.code_required and not proven
        await connection.execute(QUERIES["supersede_pending"], wish.membership_id, proven)
        times = await connection.fetchrow(
            QUERIES["insert_request"],
            reforge_id,
            wish.membership_id,
            proven,
            membership["device_id"],
            membership["thumbprint"],
            wish.new_device_id,
            wish.new_key.canonical,
            wish.new_key.thumbprint,
            membership["email"],
            wish.asked_from,
            digest(self._keys.token(Purpose.MOVE, reforge_id)),
            digest(self._keys.token(Purpose.UNDO, reforge_id)),
            code_required,
            float(self._settings.reforge_ttl_s),
        )
        assert times is not None  # noqa: S101 - RETURNING of one inserted row
        request = {
            "new_device_id": wish.new_device_id,
            "new_thumbprint": wish.new_key.thumbprint,
            "asked_from": wish.asked_from,
            "proven": proven,
            "code_required": code_required,
            "created_at": times["created_at"],
            "expires_at": times["expires_at"],
        }
        await enqueue(
            connection,
            MailKind.CONFIRM,
            reforge_id,
            recipient=membership["email"],
            facts=request_facts(request, membership),
            useless_after=times["expires_at"],
        )
        return Begun(reforge_id, times["expires_at"], self._keys.code(reforge_id) if code_required else None)


def _refuse_impossible(wish: Wish, membership: asyncpg.Record) -> None:
    """What belongs to the membership: the named device exists (404), and the move makes sense (422)."""
    active = membership["device_id"]
    if wish.old_device_id and wish.old_device_id != active:
        raise NotFound("old_device_id is not the membership's active device")
    if active is not None and not wish.old_device_id:
        raise InvalidRequest("old_device_id is required, because the membership has an enrolled device")
    if wish.new_device_id == active or wish.new_key.thumbprint == membership["thumbprint"]:
        raise InvalidRequest("The new device is the one that holds the membership already")
    if membership["email"] is None:
        raise InvalidRequest("There is no e-mail address on file for this membership")
