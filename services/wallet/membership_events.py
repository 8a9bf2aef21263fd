"""Follow `membership_events`: change the passes of changed memberships, and enqueue pushes to the phones.

1. lock the cursor's row; if another process has it, that process does this work
2. read events of finished transactions beyond the cursor
3. lock their memberships, so that no first pass is issued meanwhile
4. update their passes to the memberships' state, and enqueue pushes
5. move the cursor
6. give new registrations their place in the order of updates; enqueue a push for those whose pass had changed before

All this is one transaction, so a crash leaves nothing half done. Only steps 4 and 6 give tags, and only one process at
a time runs them: a greater tag is never visible before a smaller one. If other code gave tags, a phone that asks for
changes since a tag could miss one.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from uuid import UUID

import structlog

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.data.storage.locks import LockClass, wait_for_hashed_locks
from services.wallet.apns import KEPT_FOR_S
from services.wallet.statements import QUERIES

log = structlog.get_logger(__name__)

BATCH_LIMIT: Final = 200
BEGINNING: Final = ("0", 0)
# Apple delivers a push to a phone that was off within this time; the phone then asks for changes.
ERASED_KEPT_S: Final = float(KEPT_FOR_S)


class EventFollower:
    """Keeps passes up to date. Several processes may run one each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def once(self) -> bool:
        """Run one round. Return True if there may be more. Raises DatabaseUnavailable."""
        followed = await self._database.in_transaction(_follow)
        return BATCH_LIMIT in followed

    async def follow(self) -> int:
        """Handle one batch of each. Return how many events and registrations it had. Raises DatabaseUnavailable."""
        followed = await self._database.in_transaction(_follow)
        return followed.events + followed.registrations


class _Followed(NamedTuple):
    """The sizes of one batch."""

    events: int
    registrations: int


async def _follow(connection: Connection) -> _Followed:
    cursor = await connection.fetchrow(QUERIES["take_cursor"])
    if cursor is None:
        return _Followed(0, 0)
    place = (cursor["transaction"], cursor["event_id"])
    if cursor["is_foreign"]:
        # Postgres was restored from a dump: transaction ids of another cluster say nothing about the order here.
        await connection.execute(QUERIES["adopt_events"])
        log.warning("events_of_another_cluster_adopted")
        place = BEGINNING
    events = await connection.fetch(QUERIES["read_events"], *place, BATCH_LIMIT)
    if events:
        await _refresh(connection, sorted({event["membership_id"] for event in events}))
        await connection.execute(QUERIES["move_cursor"], events[-1]["transaction"], events[-1]["id"])
    registrations = await connection.fetchval(QUERIES["tag_registrations"], BATCH_LIMIT, ERASED_KEPT_S)
    return _Followed(len(events), registrations)


async def _refresh(connection: Connection, memberships: list[UUID]) -> None:
    await wait_for_hashed_locks(connection, LockClass.WALLET_MEMBERSHIP, map(str, memberships))
    changed = await connection.fetch(QUERIES["refresh_passes"], memberships)
    await connection.execute(QUERIES["limit_registrations"], memberships, ERASED_KEPT_S)
    for row in changed:
        log.info("pass_changed", serial=str(row["serial"]), state=row["state"])
