"""When a drop sells: said anew by the operator, with a line in the audit log.

Postgres' clock judges it in every statement that mints, so a change counts from the next one on.
"""

from __future__ import annotations

from datetime import datetime

import asyncpg

from admin.statements import QUERIES
from services import audit_log
from services.mint.drops import Drop
from services.runtime.times import rfc3339
from services.storage.connections import Connection


async def schedule_drop(
    connection: Connection,
    drop: Drop,
    opens_at: datetime | None,
    closes_at: datetime | None,
    *,
    reason: str,
    actor: str,
) -> bool:
    """Let a drop sell from `opens_at` until `closes_at` (None: no limit), in the caller's transaction. True."""
    row = await connection.fetchrow(QUERIES["schedule_drop"], drop.id, opens_at, closes_at)
    await _audit(connection, "drop.schedule", drop, row, reason=reason, actor=actor)
    return True


async def close_drop(connection: Connection, drop: Drop, *, reason: str, actor: str) -> bool:
    """End a drop's sale now, in the caller's transaction; one that is closed stays so. True."""
    row = await connection.fetchrow(QUERIES["close_drop"], drop.id)
    await _audit(connection, "drop.close", drop, row, reason=reason, actor=actor)
    return True


async def _audit(
    connection: Connection, action: str, drop: Drop, row: asyncpg.Record | None, *, reason: str, actor: str
) -> None:
    assert row is not None  # noqa: S101 - a drop is never deleted
    details = {
        "drop_id": drop.id,
        "environment": drop.environment,
        "opens_at": rfc3339(row["opens_at"]),
        "closes_at": rfc3339(row["closes_at"]),
    }
    subject = f"{drop.tier} {drop.year}"
    await audit_log.append(connection, actor=actor, action=action, subject=subject, reason=reason, details=details)
