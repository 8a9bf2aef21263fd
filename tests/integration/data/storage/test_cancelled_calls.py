"""Callers who hang up cost no connection: their statements end by themselves, and sessions stay within the pool."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import asyncpg
import grpc
import pytest

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.data.storage.failures import DatabaseUnavailable
from services.data.storage.settings import PostgresSettings
from stack.local import Stack
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc

POOL = 4
CALLS = 2_000
NAME = "cancelled"
OPEN = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"


@pytest.fixture
async def operator(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    settings = PostgresSettings(database_url=database_url, postgres_pool_size=POOL)
    async with Database.open(settings, NAME) as opened:
        yield opened


async def sessions_ever(operator: asyncpg.Connection) -> int:
    """The number of sessions that this database has ever had; open ones are counted at their next pause."""
    await operator.execute("SELECT pg_stat_force_next_flush()")
    return await operator.fetchval("SELECT sessions FROM pg_stat_database WHERE datname = current_database()")


async def backends(database: Database) -> set[int]:
    rows = await asyncio.gather(
        *(database.fetch("SELECT pg_backend_pid() AS pid, pg_sleep(0.05)") for _ in range(POOL))
    )
    return {row[0]["pid"] for row in rows}


async def test_cancelled_reads_close_no_connection(database: Database, operator: asyncpg.Connection) -> None:
    before = await backends(database)
    assert len(before) == POOL
    chance = random.Random(1)
    most = 0
    for _ in range(CALLS // 100):
        calls = [asyncio.create_task(database.fetch("SELECT pg_sleep(0.002)")) for _ in range(100)]
        for call in calls:
            await asyncio.sleep(chance.random() / 2_000)
            call.cancel()
        most = max(most, await operator.fetchval(OPEN, NAME))
        await asyncio.gather(*calls, return_exceptions=True)
    assert most <= POOL
    assert await backends(database) == before


async def test_callers_who_hang_up_while_connections_are_opened_leave_no_sessions_behind(
    database: Database, operator: asyncpg.Connection
) -> None:
    chance = random.Random(2)
    before = await sessions_ever(operator)
    most = 0
    for _ in range(40):
        calls = [asyncio.create_task(database.fetch("SELECT 1")) for _ in range(10)]
        for call in calls:
            await asyncio.sleep(chance.random() / 1_000)
            call.cancel()
        most = max(most, await operator.fetchval(OPEN, NAME))
        await asyncio.gather(*calls, return_exceptions=True)
    assert most <= POOL
    assert len(await backends(database)) == POOL
    assert await sessions_ever(operator) - before <= POOL


async def test_work_of_a_caller_who_left_goes_on_and_commits(database: Database, operator: asyncpg.Connection) -> None:
    await operator.execute("CREATE TABLE notes (note text)")
    begun = asyncio.Event()

    async def write(connection: Connection) -> None:
        await connection.execute("INSERT INTO notes VALUES ('first')")
        begun.set()
        await connection.execute("SELECT pg_sleep(0.2)")
        await connection.execute("INSERT INTO notes VALUES ('second')")

    call = asyncio.create_task(database.in_transaction(write))
    await begun.wait()
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call
    async with asyncio.timeout(2):
        while await operator.fetchval("SELECT count(*) FROM notes") != 2:
            await asyncio.sleep(0.02)


async def test_work_of_a_caller_who_left_ends_within_the_calls_limit(
    database_url: str, operator: asyncpg.Connection
) -> None:
    settings = PostgresSettings(
        database_url=database_url, postgres_statement_timeout_ms=1_100, postgres_call_timeout_ms=1_200
    )
    over = asyncio.Event()
    async with Database.open(settings, NAME) as database:

        async def hang(connection: Connection) -> None:
            await connection.execute("SELECT 1")
            await over.wait()

        call = asyncio.create_task(database.in_transaction(hang))
        await asyncio.sleep(0.2)
        call.cancel()
        async with asyncio.timeout(3):
            while await operator.fetchval(OPEN, NAME):
                await asyncio.sleep(0.05)
        await database.fetch("SELECT 1")
        over.set()


async def test_an_operator_who_interrupts_long_work_ends_it_at_once(
    database_url: str, operator: asyncpg.Connection
) -> None:
    async def work(connection: Connection) -> None:
        await connection.execute("CREATE TABLE half ()")
        await connection.execute("SELECT pg_sleep(3)")

    async def command() -> None:
        async with Database.open(PostgresSettings(database_url=database_url), NAME) as database:
            await database.in_long_transaction(work)

    interrupted = asyncio.create_task(command())
    await asyncio.sleep(0.3)
    began_s = time.monotonic()
    interrupted.cancel()
    with suppress(asyncio.CancelledError):
        await interrupted
    assert time.monotonic() - began_s < 1
    assert await operator.fetchval("SELECT to_regclass('half')") is None


async def test_the_end_of_a_process_waits_for_work_of_callers_who_left(
    database_url: str, operator: asyncpg.Connection
) -> None:
    await operator.execute("CREATE TABLE notes (note text)")
    async with Database.open(PostgresSettings(database_url=database_url), NAME) as database:
        call = asyncio.create_task(
            database.execute("WITH slow AS (SELECT pg_sleep(0.3)) INSERT INTO notes SELECT 'kept' FROM slow")
        )
        await asyncio.sleep(0.15)
        call.cancel()
        with suppress(asyncio.CancelledError, DatabaseUnavailable):
            await call
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 2
    assert await operator.fetchval("SELECT count(*) FROM notes") == 1


async def test_two_thousand_callers_of_a_service_who_hang_up_open_no_more_sessions(stack: Stack) -> None:
    operator = await asyncpg.connect(stack.database_url)
    mint_sessions = "SELECT array_agg(pid) FROM pg_stat_activity WHERE application_name = 'vyris-mint'"
    seen: set[int] = set()

    async def watch() -> None:
        while True:
            seen.update(await operator.fetchval(mint_sessions) or ())
            await asyncio.sleep(0.005)

    chance = random.Random(3)
    names = itertools.count()

    def ask() -> Any:
        """Look up a drop that nobody asked for before: a plain read."""
        return stub.GetDrop(mint_pb2.GetDropRequest(tier=f"nowhere-{next(names)}", year="2031"), timeout=5)

    async with grpc.aio.insecure_channel(f"127.0.0.1:{stack.listens['mint']}") as channel:
        stub = mint_pb2_grpc.MintServiceStub(channel)
        watching = asyncio.create_task(watch())
        for _ in range(20):
            calls = [ask() for _ in range(100)]
            for call in calls:
                await asyncio.sleep(chance.random() / 1_000)
                call.cancel()
        await asyncio.sleep(0.3)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await ask()
        assert refusal.value.code() == grpc.StatusCode.NOT_FOUND
    await operator.close()
    assert seen
    assert len(seen) <= 2 * 8  # two processes, their whole pools
