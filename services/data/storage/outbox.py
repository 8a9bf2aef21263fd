"""An outbox: a table of messages to the outside, such as mails or pushes, that must be sent at least once.

A row is written in the transaction of its cause. A process takes it under a lease: if the process dies, the row is due
again when the lease ends. After a failure the row is due later, after a pause that doubles. The table and its
statements belong to a domain, because the rows differ; taking, retrying and giving up are the same for all.

Libraries such as pgqueuer and procrastinate bring tables, migrations and workers of their own. An outbox here is one
table, five statements of the domain, and this module; the domain's own statements enqueue (one push for each phone).
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
    """`key…`: marks the row as sent."""
    later: str
    """$1 pause in seconds, `key…`: makes the row due after the pause."""
    give_up: str
    """`key…`: gives the row up."""
    count: str
    """One row: `waiting` rows, and `oldest_s`, the age of the oldest in seconds."""


@dataclass(frozen=True)
class OutboxLimits:
    """The size of a batch, the lease, and the pauses after failures."""

    batch_rows: int
    lease_s: float
    first_pause_s: float
    longest_pause_s: float


class Outbox:
    """One outbox. Any number of processes may take rows from it at the same time."""

    def __init__(self, database: Database, statements: OutboxStatements, limits: OutboxLimits) -> None:
        self._database = database
        self._statements = statements
        self._limits = limits

    async def take(self) -> list[asyncpg.Record]:
        """Take rows that are due, at most a batch, under a lease. Raises DatabaseFailed."""
        return await self._database.fetch(self._statements.take, self._limits.batch_rows, self._limits.lease_s)

    async def done(self, *key: object) -> None:
        """Mark the row as sent. Raises DatabaseFailed."""
        await self._database.execute(self._statements.done, *key)

    async def later(self, attempts: int, *key: object) -> None:
        """Postpone the row by the pause for its `attempts`. Raises DatabaseFailed."""
        await self._database.execute(self._statements.later, self.pause_s(attempts), *key)

    async def give_up(self, *key: object) -> None:
        """Give the row up: it is never taken again. Raises DatabaseFailed."""
        await self._database.execute(self._statements.give_up, *key)

    async def count(self) -> tuple[int, float]:
        """Return how many rows wait, and the age of the oldest in seconds. Raises DatabaseFailed."""
        row = await self._database.fetchrow(self._statements.count)
        return (row["waiting"], row["oldest_s"]) if row else (0, 0.0)

    async def send_batch(self, send: Callable[[asyncpg.Record], Awaitable[None]]) -> int:
        """Take a batch and `send` its rows in parallel. Return the size of the batch.

        Raises what the first failed `send` raised, after all have ended.
        """
        rows = await self.take()
        ends = await asyncio.gather(*(send(row) for row in rows), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        return len(rows)

    def pause_s(self, attempts: int) -> float:
        """Return the pause after so many attempts: it doubles up to a limit, less up to a quarter by chance."""
        pause_s = self._limits.first_pause_s * 2.0 ** min(attempts - 1, DOUBLINGS_LIMIT)
        return min(pause_s, self._limits.longest_pause_s) * random.uniform(0.75, 1.0)  # noqa: S311 - spreads retries
