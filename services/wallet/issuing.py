"""Who may have which pass: the order of checks of IssuePass, and the issue of a first pass.

A membership has one pass at a time. Its serial is the one told at mint until the
membership moves to another device; then the old pass is over and a new one, with
a new serial, is issued at the next wish.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from services.audit_log import Actor, audited
from services.device_proof import VerifiedProof
from services.device_proof.spending import spend
from services.ownership import require_live, require_owner, unknown_membership
from services.storage.connections import Connection
from services.storage.database import Database
from services.storage.locks import LockClass, wait_for_hashed_locks
from services.wallet.pass_json import PassFacts
from services.wallet.statements import QUERIES
from vyris.errors import Retryable

PUBLIC_ID_BYTES: Final = 16

# Given the active device's thumbprint, the proof to be spent; raises Unauthorized.
AskForProof = Callable[[str | None], VerifiedProof | None]


@dataclass(frozen=True, slots=True)
class _Standing:
    """A membership as one snapshot shows it, with its current pass where one was issued."""

    user_id: str
    revoked: bool
    thumbprint: str | None
    generation: int
    minted_at: datetime
    sequence_num: int
    tier: str
    year: str
    environment: str
    serial: UUID | None
    public_id: str | None

    def facts(self, serial: UUID, public_id: str) -> PassFacts:
        return PassFacts(
            str(serial),
            public_id,
            self.tier,
            self.year,
            self.sequence_num,
            self.minted_at,
            is_test=self.environment != "production",
        )


async def issue_pass(
    database: Database,
    *,
    membership_id: UUID,
    user_id: str,
    require_user: Callable[[str], None],
    ask_for_proof: AskForProof,
) -> PassFacts:
    """The facts of the owner's current pass, issued if need be.

    Raises NotFound, Unauthorized (another's, revoked, proof missing or bad), Retryable.
    """
    standing = await _read(database, membership_id)
    require_user(user_id)
    require_owner(standing.user_id, user_id, revoked=standing.revoked)
    proof = ask_for_proof(standing.thumbprint)
    if proof is None and standing.serial is not None and standing.public_id is not None:
        return standing.facts(standing.serial, standing.public_id)

    async def work(connection: Connection) -> PassFacts:
        await spend(connection, proof)
        return await _issue(connection, membership_id, standing)

    return await database.in_transaction(work)


async def issue_to_operator(database: Database, membership_id: UUID, actor: Actor) -> PassFacts:
    """The same for an operator, who need not be the owner; with an entry in the audit log.

    Raises NotFound, Unauthorized.
    """
    standing = await _read(database, membership_id)
    require_live(revoked=standing.revoked)

    async def work(connection: Connection) -> PassFacts:
        facts = await _issue(connection, membership_id, standing)
        await actor.note(connection, "pass.build", str(membership_id), serial=facts.serial_number)
        return facts

    return await audited(database, work)


async def _issue(connection: Connection, membership_id: UUID, seen: _Standing) -> PassFacts:
    """Read again under the lock that keeps the membership's events away, then insert what is missing."""
    await wait_for_hashed_locks(connection, LockClass.WALLET_MEMBERSHIP, [str(membership_id)])
    standing = _standing(await connection.fetchrow(QUERIES["read_membership"], membership_id))
    require_live(revoked=standing.revoked)
    if (standing.thumbprint, standing.generation) != (seen.thumbprint, seen.generation):
        # It moved a moment ago: who was allowed then needs not be now.
        raise Retryable("The membership has just changed; send the same request again")
    if standing.serial is not None and standing.public_id is not None:
        return standing.facts(standing.serial, standing.public_id)
    public_id = secrets.token_urlsafe(PUBLIC_ID_BYTES)
    row = await connection.fetchrow(QUERIES["insert_pass"], membership_id, standing.generation, public_id)
    if row is None:
        raise unknown_membership()
    return standing.facts(row["serial"], row["public_id"])


async def _read(database: Database, membership_id: UUID) -> _Standing:
    return _standing(await database.fetchrow(QUERIES["read_membership"], membership_id))


def _standing(row: asyncpg.Record | None) -> _Standing:
    if row is None:
        raise unknown_membership()
    return _Standing(**{name: row[name] for name in _Standing.__slots__})
