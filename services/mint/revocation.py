"""Revoke and restore a membership, for refunds and for the operator.

A revoked membership keeps its row, and nobody may use it. `membership_events` notifies the other services, which
void the pass and refuse encounters.
"""

from __future__ import annotations

from uuid import UUID

import asyncpg

from services.data import audit_log
from services.data.storage.connections import Connection
from services.limits import count_member_keys, lock_member_keys, release_keys
from services.mint.statements import QUERIES
from services.supply import add_to_tally, put_back


async def revoke(connection: Connection, membership_id: UUID, *, reason: str, actor: str, frees_number: bool) -> bool:
    """Revoke a membership in the caller's transaction; False if it is unknown or already revoked.

    `frees_number`: its number goes to the first in the line, or is for sale again, at a random place among the
    unclaimed ones; its owner's keys no longer count.
    """
    membership = await connection.fetchrow(
        QUERIES["revoke_membership"], membership_id, reason[: audit_log.REASON_LIMIT], frees_number
    )
    if membership is None:
        return False
    if frees_number:
        await release_keys(connection, [membership_id])
        await put_back(connection, membership["drop_id"], [membership["sequence_num"]], were_held=False)
    await connection.execute(QUERIES["append_event"], membership_id, "revoked")
    await _audit(connection, membership_id, membership, actor=actor, action="membership.revoke", reason=reason)
    return True


async def restore(connection: Connection, membership_id: UUID, *, reason: str, actor: str) -> bool:
    """Restore a revoked membership in the caller's transaction.

    False if it is unknown, live, or an erased person's. Also if its number was for sale again and was sold or
    withdrawn: the number would have two owners, or the drop more memberships than its capacity. Also if one of its keys
    counts for another hold or membership now: one person would have two.
    """
    membership = await connection.fetchrow(QUERIES["lock_revoked_membership"], membership_id)
    if membership is None:
        return False
    if membership["number_freed"]:
        keys, is_counted = await lock_member_keys(connection, membership_id)
        if is_counted:
            return False
        taken_back = await connection.fetchval(
            QUERIES["take_number"], membership["drop_id"], membership["sequence_num"]
        )
        if taken_back is None:
            return False
        await add_to_tally(connection, membership["drop_id"], taken=1, held=0)
        await count_member_keys(connection, keys)
    await connection.execute(QUERIES["restore_membership"], membership_id)
    await connection.execute(QUERIES["append_event"], membership_id, "restored")
    await _audit(connection, membership_id, membership, actor=actor, action="membership.restore", reason=reason)
    return True


async def _audit(
    connection: Connection, membership_id: UUID, membership: asyncpg.Record, *, actor: str, action: str, reason: str
) -> None:
    details = {
        "drop_id": membership["drop_id"],
        "sequence_num": membership["sequence_num"],
        "number_freed": membership["number_freed"],
    }
    await audit_log.append(
        connection, actor=actor, action=action, subject=str(membership_id), reason=reason, details=details
    )
