"""An outbox: rows of a table that owe something to the outside, such as a mail or a push.

A row is written in the transaction that makes it true. Taking it leases it: if the process dies, the row is due again
when the lease ends, so it is sent at least once. A failure makes it due later, after a pause that doubles. The table
and its statements belong to a domain: rows differ, and so does what remains of them. How they are worked off does not.

pgqueuer and procrastinate were weighed: each brings tables, migrations and workers of its own, where an outbox here is
one table, written by the domain's own statements (a push is owed once per phone), five statements and this module.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import asyncpg

from services.data.storage.database import Database

DOUBLINGS_LIMIT: Final = 20


@dataclass(frozen=True)
class OutboxStatements:
    """The SQL of one outbox. `key` is what names a row, one or more parameters."""

    take: str
    """$1 rows at most, $2 lease in seconds: leases due rows, adds 1 to `attempts` and returns them."""
    done: str
    """`key…`: the row is sent."""
    later: str
    """$1 pause in seconds, `key…`: the row is due after the pause."""
    give_up: str
    """`key…`: the row is never sent."""
    count: str
    """One row: `waiting` rows, and `oldest_s`, the age of the oldest in seconds."""


@dataclass(frozen=True)
class OutboxLimits:
    """How much is taken at once, for how long, and how soon a failure is tried again."""

    batch_rows: int
    lease_s: float
    first_pause_s: float
    longest_pause_s: float


class Outbox:
    """One table of what waits. Any number of processes may work it off at once."""

    def __init__(self, database: Database, statements: OutboxStatements, limits: OutboxLimits) -> None:
        self._database = database
        self._statements = statements
        self._limits = limits

    async def take(self) -> list[asyncpg.Record]:
        """Rows that are due, at most a batch; no other process takes them during the lease. Raises DatabaseFailed."""
        return await self._database.fetch(self._statements.take, self._limits.batch_rows, self._limits.lease_s)

    async def done(self, *key: object) -> None:
        """The row is sent. Raises DatabaseFailed."""
        await self._database.execute(self._statements.done, *key)

    async def later(self, attempts: int, *key: object) -> None:
        """Try the row again after a pause that fits its `attempts`. Raises DatabaseFailed."""
        await self._database.execute(self._statements.later, self.pause_s(attempts), *key)

    async def give_up(self, *key: object) -> None:
        """Never try the row again. Raises DatabaseFailed."""
        await self._database.execute(self._statements.give_up, *key)

    async def count(self) -> tuple[int, float]:
        """How many rows wait, and the age of the oldest in seconds. Raises DatabaseFailed."""
        row = await self._database.fetchrow(self._statements.count)
        return (row["waiting"], row["oldest_s"]) if row else (0, 0.0)

    async def send_batch(self, send: Callable[[asyncpg.Record], Awaitable[None]]) -> int:
        """Take a batch and `send` its rows side by side; returns how many it had.

        Raises what the first failed `send` raised, after all have ended.
        """
        rows = await self.take()
        ends = await asyncio.gather(*(send(row) for row in rows), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        return len(rows)

    def pause_s(self, attempts: int) -> float:
        """Doubles with each attempt up to a limit, with a little chance in it."""
        pause_s = self._limits.first_pause_s * 2.0 ** min(attempts - 1, DOUBLINGS_LIMIT)
        return min(pause_s, self._limits.longest_pause_s) * random.uniform(0.75, 1.0)  # noqa: S311 - spreads retries
