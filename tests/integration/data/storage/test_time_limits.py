"""Each limit is shorter than the next, and the server ends statements for which no client waits."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg
import pytest
from pydantic import ValidationError

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.data.storage.failures import DatabaseUnavailable
from services.data.storage.settings import PostgresSettings

LIMITS_MS: dict[str, Any] = {
    "postgres_lock_timeout_ms": 50,
    "postgres_statement_timeout_ms": 200,
    "postgres_call_timeout_ms": 400,
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"postgres_lock_timeout_ms": 3_000},
        {"postgres_statement_timeout_ms": 5_000},
        {"postgres_call_timeout_ms": 900},
    ],
)
def test_limits_that_are_not_inside_each_other_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="must be less than"):
        PostgresSettings(database_url="postgresql:///x", **wrong)


async def test_a_transaction_of_many_short_statements_ends_on_the_server_too(database_url: str) -> None:
    """Neither the limit of a statement nor that of an idle session would end it."""
    server_side = []

    async def work(connection: Connection) -> None:
        server_side.append(await connection.fetchval("SELECT pg_backend_pid()"))
        while True:
            await connection.execute("SELECT pg_sleep(0.02)")

    async with Database.open(PostgresSettings(database_url=database_url, **LIMITS_MS), "limited") as database:
        with pytest.raises(DatabaseUnavailable):
            await database.in_transaction(work)
    operator = await asyncpg.connect(database_url)
    try:
        async with asyncio.timeout(2):
            while await operator.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", server_side[0]):
                await asyncio.sleep(0.02)
    finally:
        await operator.close()


async def test_an_operators_long_transaction_outlasts_the_limits(database_url: str) -> None:
    async def work(connection: Connection) -> int:
        await connection.execute("SELECT pg_sleep(0.5)")
        return int(await connection.fetchval("SELECT 7"))

    began_s = time.monotonic()
    async with Database.open(PostgresSettings(database_url=database_url, **LIMITS_MS), "patient") as database:
        assert await database.in_long_transaction(work) == 7
        row = await database.fetchrow("SHOW transaction_timeout")
    assert time.monotonic() - began_s > 0.4
    assert row is not None
    assert row["transaction_timeout"] == "400ms"
