"""Locations of encounters are removed after the retention; the encounters stay."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from services.data.storage.database import Database
from services.data.storage.locks import LockClass
from services.data.storage.settings import PostgresSettings
from services.encounter.location_retention import ROWS_A_ROUND, LocationRetention


@pytest.fixture
async def storage(database_url: str) -> AsyncIterator[Database]:
    async with Database.open(PostgresSettings(database_url=database_url), "test") as database:
        yield database


async def fill(database: Database, count: int, days: int) -> None:
    await database.execute(
        "INSERT INTO encounters (id, initiator_id, receiver_id, signing_key, jti, encountered_at, verified_at,"
        " latitude_hundredths, longitude_hundredths)"
        " SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), repeat('k', 43), gen_random_uuid()::text,"
        " now(), now() - make_interval(days => $2), 1, 2 FROM generate_series(1, $1)",
        count,
        days,
    )


async def count_locations(database: Database) -> int:
    rows = await database.fetch("SELECT FROM encounters WHERE latitude_hundredths IS NOT NULL")
    return len(rows)


async def test_old_locations_are_removed_in_bounded_rounds(storage: Database) -> None:
    await fill(storage, ROWS_A_ROUND + 7, 31)
    await fill(storage, 5, 29)
    retention = LocationRetention(storage, 30)
    assert [await retention.forget() for _ in range(3)] == [ROWS_A_ROUND, 7, 0]
    assert await count_locations(storage) == 5
    assert len(await storage.fetch("SELECT FROM encounters WHERE longitude_hundredths IS NULL")) == ROWS_A_ROUND + 7


async def test_a_retention_of_zero_removes_every_location(storage: Database) -> None:
    await fill(storage, 3, 0)
    await LocationRetention(storage, 0).forget()
    assert await count_locations(storage) == 0


async def test_one_process_removes_locations_at_a_time(storage: Database, database_url: str) -> None:
    await fill(storage, 3, 31)
    other = await asyncpg.connect(database_url)
    try:
        async with other.transaction():
            await other.execute("SELECT pg_advisory_xact_lock($1, 0)", LockClass.ENCOUNTER_RETENTION)
            assert await LocationRetention(storage, 30).forget() == 0
        assert await LocationRetention(storage, 30).forget() == 3
    finally:
        await other.close()
