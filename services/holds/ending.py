"""Holds end without a membership: their time is over, or their owner or an operator releases them.

Each end is one transaction: the hold, its person keys, its number, the tally, and the receipt of a late payer that the
hold was for. Postgres' row lock decides between an end and a payment: the first to lock the hold gets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal
from uuid import UUID

import asyncpg
import structlog

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.data.storage.failures import DatabaseFailed
from services.data.storage.locks import LockClass, try_lock
from services.holds import metrics
from services.holds.statements import QUERIES
from services.limits import release_keys
from services.limits.statements import QUERIES as LIMIT_QUERIES
from services.mint.bouncer import Bouncer, count_key
from services.mint.drops import DropDirectory
from services.server import failpoints
from services.supply import Returned, put_back, serve_line
from services.supply.statements import QUERIES as SUPPLY_QUERIES

DROPS_A_ROUND: Final = 100
HOLDS_A_TRANSACTION: Final = 500
KEYS_A_TRANSACTION: Final = 5_000
FORGET_INTERVAL_S: Final = 3_600.0

log = structlog.get_logger(__name__)


async def end_hold(
    connection: Connection, hold_id: UUID, state: Literal["RELEASED", "LAPSED"]
) -> tuple[int, Returned] | None:
    """End one hold in the caller's transaction. Return its drop and where its number went; None if it had ended."""
    row = await connection.fetchrow(QUERIES["end_hold"], hold_id, state)
    if row is None:
        return None
    return row["drop_id"], await _put_back(connection, row["drop_id"], [row])


async def _put_back(connection: Connection, drop_id: int, ended: Sequence[asyncpg.Record]) -> Returned:
    await release_keys(connection, [row["id"] for row in ended])
    offers = sorted(row["receipt_key"] for row in ended if row["receipt_key"] is not None)
    if offers:
        await connection.execute(QUERIES["end_offers"], offers)
    return await put_back(connection, drop_id, [row["sequence_num"] for row in ended], were_held=True)


class Lapses:
    """Takes back numbers of holds whose time and grace are over, and serves the line while numbers are for sale."""

    def __init__(self, database: Database, bouncer: Bouncer, drops: DropDirectory, *, grace_s: float) -> None:
        self._database = database
        self._bouncer = bouncer
        self._drops = drops
        self._grace_s = grace_s

    async def once(self) -> bool:
        """Run one round. Return True if there may be more. Raises DatabaseUnavailable.

        One drop must not stop the others: a failure is raised at the end of the round.
        """
        failures: list[DatabaseFailed] = []
        more = False
        for row in await self._database.fetch(QUERIES["find_due_drops"], self._grace_s, DROPS_A_ROUND):
            try:
                more = await self._lapse(row["drop_id"]) or more
            except DatabaseFailed as error:
                log.warning("holds_not_lapsed", drop_id=row["drop_id"], error=error.cause)
                failures.append(error)
        for row in await self._database.fetch(SUPPLY_QUERIES["find_lines"], DROPS_A_ROUND):
            try:
                await self._serve(row["drop_id"])
            except DatabaseFailed as error:
                log.warning("line_not_served", drop_id=row["drop_id"], error=error.cause)
                failures.append(error)
        if failures:
            raise failures[0]
        return more

    async def _lapse(self, drop_id: int) -> bool:
        async def work(connection: Connection) -> tuple[int, Returned]:
            if not await try_lock(connection, LockClass.MINT_LAPSES):
                return 0, Returned(0, 0)
            ended = await connection.fetch(QUERIES["lapse_holds"], drop_id, self._grace_s, HOLDS_A_TRANSACTION)
            await failpoints.reach("hold.lapsing")
            return len(ended), await _put_back(connection, drop_id, ended)

        count, returned = await self._database.in_transaction(work)
        await failpoints.reach("hold.lapsed")
        if count:
            metrics.ENDED("LAPSED").inc(count)
            await self.report_returned(drop_id, returned)
            log.info("holds_lapsed", drop_id=drop_id, holds=count, offered=returned.offered)
        return count == HOLDS_A_TRANSACTION

    async def _serve(self, drop_id: int) -> None:
        async def work(connection: Connection) -> Returned:
            return await serve_line(connection, drop_id)

        returned = await self._database.in_transaction(work)
        metrics.OFFERED.inc(returned.offered)

    async def report_returned(self, drop_id: int, returned: Returned) -> None:
        """Count returned numbers, and add them to the bouncer's count. If that fails, the recount corrects it."""
        metrics.OFFERED.inc(returned.offered)
        drop = await self._drops.numbered(drop_id)
        await self._bouncer.give_back(count_key(drop.tier, drop.year, drop.environment), returned.for_sale)


class Forgetting:
    """Destroys the person keys and secrets of drops that closed long ago."""

    def __init__(self, database: Database, retention_d: int) -> None:
        self._database = database
        self._retention_d = retention_d

    async def once(self) -> bool:
        """Run one round. Return True if there may be more. Raises DatabaseUnavailable."""
        rows = await self._database.fetch(LIMIT_QUERIES["find_expired_secrets"], self._retention_d, DROPS_A_ROUND)
        for row in rows:
            # The keys first: without the secret nobody could find the drop again.
            for name in ("forget_keys", "forget_released_keys"):
                done = await self._database.execute(LIMIT_QUERIES[name], row["drop_id"], KEYS_A_TRANSACTION)
                if done == f"DELETE {KEYS_A_TRANSACTION}":
                    return True
            await self._database.execute(LIMIT_QUERIES["destroy_secret"], row["drop_id"])
        return len(rows) == DROPS_A_ROUND
