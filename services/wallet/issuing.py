"""Issue passes: the checks of IssuePass in their order, and the insert of a first pass.

A membership has one pass at a time. Its first serial is the one in the answer to the mint. When the membership moves to
another device, the old pass is void, and the next request issues a new pass with a new serial.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from services.data.audit_log import Actor, audited
from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.data.storage.locks import LockClass, wait_for_hashed_locks
from services.identity.device_proof import VerifiedProof
from services.identity.device_proof.spending import spend
from services.identity.ownership import require_live, require_owner, unknown_membership
from services.wallet.pass_json import PassFacts
from services.wallet.statements import QUERIES
from vyris.errors import Retryable

PUBLIC_ID_BYTES: Final = 16

# Takes the active device's thumbprint, returns the verified proof to spend. Raises Unauthorized.
AskForProof = Callable[[str | None], VerifiedProof | None]


@dataclass(frozen=True, slots=True)
class _Membership:
    """A membership in one snapshot, with its current pass, if any."""

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
    """Return the facts of the owner's current pass; issue the pass if there is none.

    `require_user` raises Unauthorized if the caller is not this user. `ask_for_proof` verifies the caller's device
    proof. Raises NotFound, Unauthorized (another user's or revoked membership, missing or wrong proof), Retryable.
    """
    membership = await _read(database, membership_id)
    require_user(user_id)
    require_owner(membership.user_id, user_id, revoked=membership.revoked)
    proof = ask_for_proof(membership.thumbprint)
    if proof is None and membership.serial is not None and membership.public_id is not None:
        return membership.facts(membership.serial, membership.public_id)

    async def work(connection: Connection) -> PassFacts:
        await spend(connection, proof)
        return await _issue(connection, membership_id, membership)

    return await database.in_transaction(work)


async def issue_to_operator(database: Database, membership_id: UUID, actor: Actor) -> PassFacts:
    """Issue a pass to an operator, who need not be the owner, with an entry in the audit log.

    Raises NotFound (unknown membership), Unauthorized (revoked membership).
    """
    membership = await _read(database, membership_id)
    require_live(revoked=membership.revoked)

    async def work(connection: Connection) -> PassFacts:
        facts = await _issue(connection, membership_id, membership)
        await actor.note(connection, "pass.build", str(membership_id), serial=facts.serial_number)
        return facts

    return await audited(database, work)


async def _issue(connection: Connection, membership_id: UUID, seen: _Membership) -> PassFacts:
    """Read again under the lock that excludes the event follower, then insert the pass if it is missing."""
    await wait_for_hashed_locks(connection, LockClass.WALLET_MEMBERSHIP, [str(membership_id)])
    membership = _parse_membership(await connection.fetchrow(QUERIES["read_membership"], membership_id))
    require_live(revoked=membership.revoked)
    if (membership.thumbprint, membership.generation) != (seen.thumbprint, seen.generation):
        # It has just moved, so the proof that we checked may be of the old device.
        raise Retryable("The membership has just changed; send the same request again")
    if membership.serial is not None and membership.public_id is not None:
        return membership.facts(membership.serial, membership.public_id)
    public_id = secrets.token_urlsafe(PUBLIC_ID_BYTES)
    row = await connection.fetchrow(QUERIES["insert_pass"], membership_id, membership.generation, public_id)
    if row is None:
        raise unknown_membership()
    return membership.facts(row["serial"], row["public_id"])


async def _read(database: Database, membership_id: UUID) -> _Membership:
    return _parse_membership(await database.fetchrow(QUERIES["read_membership"], membership_id))


def _parse_membership(row: asyncpg.Record | None) -> _Membership:
    if row is None:
        raise unknown_membership()
    return _Membership(**{name: row[name] for name in _Membership.__slots__})
