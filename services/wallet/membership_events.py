"""Follows `membership_events`: what became of a membership becomes of its pass, and phones are told.

1. take the cursor's row; another process that has it does this work
2. read events of finished transactions beyond it
3. lock their memberships against the issue of a first pass
4. make their passes say what is true now, and owe pushes
5. move the cursor

All in one transaction, so a crash anywhere leaves nothing half done.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

import structlog

from services.storage.connections import Connection
from services.storage.database import Database
from services.storage.locks import LockClass, wait_for_hashed_locks
from services.storage.rounds import repeat
from services.wallet.push_outbox import PAUSE_AFTER_FAILURE_S
from services.wallet.statements import QUERIES

log = structlog.get_logger(__name__)

BATCH_LIMIT: Final = 200


class EventFollower:
    """Keeps passes true. Several processes may run one each."""

    def __init__(self, database: Database, interval_s: float) -> None:
        self._database = database
        self._interval_s = interval_s

    async def run(self) -> None:
        """Follow until cancelled."""
        await repeat(
            self._follow_leaves_more,
            interval_s=self._interval_s,
            failure_event="events_not_followed",
            pause_after_failure_s=PAUSE_AFTER_FAILURE_S,
        )

    async def _follow_leaves_more(self) -> bool:
        return await self.follow() == BATCH_LIMIT

    async def follow(self) -> int:
        """Handle one batch; returns how many events it had. Raises DatabaseUnavailable."""
        return await self._database.in_transaction(_follow)


async def _follow(connection: Connection) -> int:
    cursor = await connection.fetchrow(QUERIES["take_cursor"])
    if cursor is None:
        return 0
    events = await connection.fetch(QUERIES["read_events"], cursor["transaction"], cursor["event_id"], BATCH_LIMIT)
    if not events:
        return 0
    memberships: list[UUID] = sorted({event["membership_id"] for event in events})
    await wait_for_hashed_locks(connection, LockClass.WALLET_MEMBERSHIP, map(str, memberships))
    changed = await connection.fetch(QUERIES["refresh_passes"], memberships)
    await connection.execute(QUERIES["move_cursor"], events[-1]["transaction"], events[-1]["id"])
    for row in changed:
        log.info("pass_changed", serial=str(row["serial"]), state=row["state"])
    return len(events)
