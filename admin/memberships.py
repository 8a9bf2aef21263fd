"""Read and revoke a membership. Store refunds revoke memberships in the same way: `services/mint/revocation.py`."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from admin.statements import QUERIES
from services.data.audit_log import Actor, audited
from services.data.storage.database import Database
from services.mint.revocation import revoke


async def read_membership(database: Database, membership_id: UUID) -> asyncpg.Record | None:
    """Return a membership with its drop, number and receipt, or None. Raises DatabaseUnavailable."""
    return await database.fetchrow(QUERIES["read_membership"], membership_id)


async def revoke_membership(database: Database, membership_id: UUID, actor: Actor, *, frees_number: bool) -> bool:
    """Revoke a membership. Return False if it is unknown or revoked already. `frees_number`: sell its number again.

    Raises DatabaseUnavailable.
    """
    return await audited(
        database,
        lambda connection: revoke(
            connection, membership_id, reason=actor.reason, actor=actor.name, frees_number=frees_number
        ),
    )
