"""An outbox on Postgres: leased rows come back, finished ones do not, and one failure does not end other attempts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from services.data.storage.database import Database
from services.data.storage.outbox import Outbox, OutboxLimits, OutboxStatements
from services.data.storage.settings import PostgresSettings

TABLE = """
CREATE TABLE parcels (
  id int PRIMARY KEY, due_at timestamptz NOT NULL DEFAULT now(), attempts int NOT NULL DEFAULT 0, state text
)
"""
STATEMENTS = OutboxStatements(
    take="UPDATE parcels SET attempts = attempts + 1, due_at = now() + make_interval(secs => $2) WHERE id IN ("
    "SELECT id FROM parcels WHERE state IS NULL AND due_at <= now() ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED) "
    "RETURNING id, attempts",
    done="UPDATE parcels SET state = 'done' WHERE id = $1",
    later="UPDATE parcels SET due_at = now() + make_interval(secs => $1) WHERE id = $2",
    give_up="UPDATE parcels SET state = 'given up' WHERE id = $1",
    count="SELECT count(*)::int AS waiting, coalesce(extract(epoch FROM now() - min(due_at)), 0)::float8 AS oldest_s "
    "FROM parcels WHERE state IS NULL",
)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.open(PostgresSettings(_env_file=None, database_url=database_url), "test") as database:
        await database.execute("DROP TABLE IF EXISTS parcels")
        await database.execute(TABLE)
        await database.execute("INSERT INTO parcels SELECT generate_series(1, 5)")
        yield database
        await database.execute("DROP TABLE parcels")


def outbox_of(database: Database, lease_s: float = 60.0) -> Outbox:
    return Outbox(database, STATEMENTS, OutboxLimits(3, lease_s, first_pause_s=0.02, longest_pause_s=0.02))


async def test_two_workers_never_take_the_same_row(database: Database) -> None:
    first, second, third = [await outbox_of(database).take() for _ in range(3)]
    assert ([row["id"] for row in first], [row["id"] for row in second], third) == ([1, 2, 3], [4, 5], [])


async def test_a_row_comes_back_when_its_lease_ends(database: Database) -> None:
    outbox = outbox_of(database, lease_s=0.05)
    assert [row["attempts"] for row in await outbox.take()] == [1, 1, 1]
    await asyncio.sleep(0.06)
    assert [(row["id"], row["attempts"]) for row in await outbox.take()] == [(1, 2), (2, 2), (3, 2)]


async def test_a_row_is_done_later_or_given_up(database: Database) -> None:
    outbox = outbox_of(database)

    async def send(row: asyncpg.Record) -> None:
        match row["id"]:
            case 1:
                await outbox.done(1)
            case 2:
                await outbox.later(row["attempts"], 2)
            case 3:
                await outbox.give_up(3)

    assert await outbox.send_batch(send) == 3
    assert (await outbox.count())[0] == 3
    await asyncio.sleep(0.03)
    assert [row["id"] for row in await outbox.take()] == [2, 4, 5]


async def test_one_row_that_fails_ends_no_other_attempt(database: Database) -> None:
    outbox = outbox_of(database)

    async def send(row: asyncpg.Record) -> None:
        if row["id"] == 1:
            raise ZeroDivisionError
        await asyncio.sleep(0.02)
        await outbox.done(row["id"])

    with pytest.raises(ZeroDivisionError):
        await outbox.send_batch(send)
    assert (await outbox.count())[0] == 3
