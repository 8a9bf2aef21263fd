"""A session that Postgres ends is a temporary failure, at each moment at which it can be noticed."""

from __future__ import annotations

import asyncio
import contextlib

import asyncpg
import pytest

from services.data.storage.database import Database
from services.data.storage.failures import DatabaseUnavailable
from services.data.storage.settings import PostgresSettings

END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ended'"


async def test_ended_sessions_are_reported_as_database_unavailable(database_url: str) -> None:
    settings = PostgresSettings(database_url=database_url, postgres_pool_size=4)
    failures = 0
    async with Database.open(settings, "ended") as database:
        operator = await asyncpg.connect(database_url)
        stop = asyncio.Event()

        async def ask() -> None:
            nonlocal failures
            while not stop.is_set():
                try:
                    await database.fetch("SELECT $1::int", 1)
                except DatabaseUnavailable:
                    failures += 1

        asking = [asyncio.create_task(ask()) for _ in range(4)]
        try:
            for _ in range(150):
                await operator.execute(END)
                await asyncio.sleep(0.005)
        finally:
            stop.set()
            await asyncio.gather(*asking)
            await operator.close()
        with contextlib.suppress(DatabaseUnavailable):
            await database.fetch("SELECT 1")
        assert await database.holds("pg_class")
    assert failures


async def test_a_connection_that_was_kept_serves_again_and_one_that_ended_meanwhile_is_replaced(
    database_url: str,
) -> None:
    async def backend() -> int:
        row = await database.fetchrow("SELECT pg_backend_pid() AS pid")
        assert row is not None
        return int(row["pid"])

    async with Database.open(PostgresSettings(database_url=database_url, postgres_pool_size=2), "ended") as database:
        first = await backend()
        assert await backend() == first
        operator = await asyncpg.connect(database_url)
        await operator.execute(END)
        await operator.close()
        await asyncio.sleep(0.1)
        second = await backend()
        assert second != first
        # All connections are out: a caller that waits for one gets it.
        taken = await asyncio.gather(*(database.fetch("SELECT pg_sleep(0.05)") for _ in range(10)))
        assert len(taken) == 10


async def test_a_connection_that_lay_idle_too_long_is_not_used_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.data.storage.connections.KEPT_S", 0.0)
    async with Database.open(PostgresSettings(database_url=database_url), "ended") as database:
        backends = {(await database.fetch("SELECT pg_backend_pid() AS pid"))[0]["pid"] for _ in range(3)}
    assert len(backends) == 3


async def test_a_missing_table_is_noticed(database_url: str) -> None:
    async with Database.open(PostgresSettings(database_url=database_url), "empty") as database:
        assert await database.holds("receipt_ledger")
        assert not await database.holds("a_table_of_tomorrow")
