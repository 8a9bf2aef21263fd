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
from services.reforge.mail_facts import request_facts
from services.reforge.outbox import MailKind, enqueue
from services.reforge.settings import ReforgeSettings
from services.reforge.statements import QUERIES, lock_membership, read_membership, refuse_strangers
from services.reforge.tokens import Purpose, TokenKey, digest
from services.storage.connections import Connection
from services.storage.database import Database
from vyris.errors import InvalidRequest, NotFound, RateLimited


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
            proof = self._judge(wish, membership)
            await self._refuse_excess(connection, membership, proven=proof is not None)
            await spend(connection, proof)
            return await self._record(connection, wish, membership, proven=proof is not None)

        begun = await self._database.in_transaction(work)
        metrics.MOVES.labels("asked").inc()
        return begun

    def _judge(self, wish: Wish, membership: asyncpg.Record) -> VerifiedProof | None:
        """In the contract's order: existence, owner and revocation, proof, state."""
        active, thumbprint = membership["device_id"], membership["thumbprint"]
        if wish.old_device_id and wish.old_device_id != active:
            raise NotFound("old_device_id is not the membership's active device")
        wish.require_user(wish.user_id)
        refuse_strangers(membership, wish.user_id)
        proof = self._proof(wish, thumbprint)
        if active is not None and not wish.old_device_id:
            raise InvalidRequest("old_device_id is required, because the membership has an enrolled device")
        if wish.new_device_id == active or wish.new_key.thumbprint == thumbprint:
            raise InvalidRequest("The new device is the one that holds the membership already")
        if membership["email"] is None:
            raise InvalidRequest("There is no e-mail address on file for this membership")
        return proof

    def _proof(self, wish: Wish, thumbprint: str | None) -> VerifiedProof | None:
        """A proof makes the request a proven one. None is ever required: the old device may be lost."""
        if wish.proof.text is None:
            return None
        return self._proofs.required(wish.proof, enrolled_thumbprint=thumbprint)

    async def _refuse_excess(self, connection: Connection, membership: asyncpg.Record, *, proven: bool) -> None:
        settings = self._settings
        seconds = await connection.fetchval(
            QUERIES["seconds_limited"],
            membership["id"],
            membership["email"],
            proven,
            settings.reforge_proven_limit if proven else settings.reforge_unproven_limit,
            settings.reforge_address_limit,
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
