"""Drops as callers see them: read from Postgres once for all who ask, at most a second old."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextvars import Context
from typing import Final

import asyncpg

from services.data.storage.database import Database
from services.mint.drops import Drop
from services.mint.receipts.verified import Environment
from services.mint.statements import QUERIES
from services.server.runtime.times import rfc3339
from vyris.errors import NotFound
from vyris.mint.v1 import mint_pb2

FRESH_S: Final = 0.5
WATCH_INTERVAL_S: Final = 1.0


def drop_state(*, early: bool, late: bool, remaining: int, held: int = 0) -> str:
    """SCHEDULED, OPEN, HELD_OUT (all remaining numbers are held), SOLD_OUT or CLOSED."""
    if early:
        return "SCHEDULED"
    if late:
        return "CLOSED"
    if remaining <= 0:
        return "SOLD_OUT"
    return "OPEN" if remaining > held else "HELD_OUT"


class DropWatch:
    """Reads drops from Postgres, each at most twice a second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[int, tuple[float, mint_pb2.GetDropResponse]] = {}
        self._reading: dict[int, asyncio.Task[mint_pb2.GetDropResponse]] = {}

    async def read(self, drop: Drop) -> mint_pb2.GetDropResponse:
        """The drop, at most a moment old. Raises NotFound, Retryable."""
        seen = self._seen.get(drop.id)
        if seen is not None and time.monotonic() < seen[0]:
            return seen[1]
        reading = self._reading.get(drop.id)
        if reading is None:
            reading = self._reading[drop.id] = asyncio.create_task(self._read(drop.id), context=Context())
            reading.add_done_callback(lambda done: self._forget(drop.id, done))
        # All waiting callers share the result, also a failure: otherwise each would try again, one after the other.
        return await asyncio.shield(reading)

    async def _read(self, drop_id: int) -> mint_pb2.GetDropResponse:
        fresh_until_s = time.monotonic() + FRESH_S
        row = await self._database.fetchrow(QUERIES["read_drop"], drop_id)
        if row is None:
            raise NotFound("There is no such drop")
        answer = _message(row)
        self._seen[drop_id] = (fresh_until_s, answer)
        return answer

    def _forget(self, drop_id: int, done: asyncio.Task[mint_pb2.GetDropResponse]) -> None:
        del self._reading[drop_id]
        if not done.cancelled():
            done.exception()  # read it, or asyncio logs an error if no caller waits any more

    async def changes(self, drop: Drop) -> AsyncIterator[mint_pb2.GetDropResponse]:
        """Yield the drop now, and after each change, at most once a second, without end. Raises NotFound, Retryable."""
        last_sent = None
        while True:
            now = await self.read(drop)
            if now != last_sent:
                last_sent = now
                yield now
            await asyncio.sleep(WATCH_INTERVAL_S)


def _message(row: asyncpg.Record) -> mint_pb2.GetDropResponse:
    held = row["held"]
    minted = row["taken"] - held
    remaining = row["capacity"] - minted
    return mint_pb2.GetDropResponse(
        tier=row["tier"],
        year=row["year"],
        capacity=row["capacity"],
        minted=minted,
        remaining=remaining,
        state=drop_state(early=row["early"], late=row["late"], remaining=remaining, held=held),
        opens_at=rfc3339(row["opens_at"]),
        closes_at=rfc3339(row["closes_at"]),
        environment=environment_mark(row["environment"]),
        sale=row["sale"],
        held=held,
        available=remaining - held,
    )


def environment_mark(environment: Environment) -> str | None:
    """The environment in answers: None in production, so that those answers keep their form."""
    return None if environment == "production" else environment
