"""Follows `membership_events`: a change of a membership becomes a change of its pass, and phones get a push.

1. take the cursor's row; another process that has it does this work
2. read events of finished transactions beyond it
3. lock their memberships against the issue of a first pass
4. make their passes say what is true now, and owe pushes
5. move the cursor
6. give new registrations their place in the order of updates; owe a push to those whose pass had changed before

All in one transaction, so a crash anywhere leaves nothing half done. Steps 4 and 6 are the only ones that give tags,
and one process at a time is here: a greater tag is never visible before a smaller one. Nothing else may order updates,
or a phone that asks for changes since a tag misses one.
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
# A phone that is off when its push is sent still gets it within this time, and then asks what changed.
ERASED_KEPT_S: Final = float(KEPT_FOR_S)


class EventFollower:
    """Keeps passes true. Several processes may run one each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def once(self) -> bool:
        """One round; True where there may be more. Raises DatabaseUnavailable."""
        followed = await self._database.in_transaction(_follow)
        return BATCH_LIMIT in followed

    async def follow(self) -> int:
        """Handle one batch of each; returns how many events and registrations it had. Raises DatabaseUnavailable."""
        followed = await self._database.in_transaction(_follow)
        return followed.events + followed.registrations


class _Followed(NamedTuple):
    """What one batch had."""

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
