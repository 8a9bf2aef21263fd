"""Behind PgBouncer in transaction mode, configured as `docs/operations.md` says, services work or say why not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import asyncpg
import pytest
from structlog.testing import capture_logs

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.data.storage.locks import LockClass, try_lock
from services.data.storage.settings import PostgresSettings
from stack.local import Stack
from tests.fresh_database import with_database
from tests.neighbours.poolers import pooler

TABLE = "receipt_ledger"


class RunPooler(Protocol):
    """Run PgBouncer with changes of the documented configuration; the URL of this test's database behind it."""

    def __call__(self, changes: Mapping[str, str] | None = None) -> AbstractContextManager[str]: ...


@pytest.fixture
def behind(database_template: Stack, database_url: str, tmp_path: Path) -> RunPooler:
    @contextmanager
    def run(changes: Mapping[str, str] | None = None) -> Iterator[str]:
        with pooler(database_template, tmp_path, changes) as url:
            yield with_database(url, urlsplit(database_url).path.lstrip("/"))

    return run


def _settings(url: str, **more: object) -> PostgresSettings:
    return PostgresSettings(database_url=url, **{"postgres_pooler": "transaction", **more})  # type: ignore[arg-type]


async def test_statements_transactions_and_locks_work_with_fewer_sessions_than_connections(behind: RunPooler) -> None:
    with behind({"default_pool_size = 20": "default_pool_size = 2"}) as url:
        async with Database.open(_settings(url), "one") as one, Database.open(_settings(url), "two") as two:
            assert await one.holds(TABLE)

            async def one_at_a_time(connection: Connection) -> bool:
                taken = await try_lock(connection, LockClass.MINT_REAPER)
                await asyncio.sleep(0.05)
                return taken

            asked = [
                database.fetch("SELECT $1::int AS n, $2::text AS text", n, str(n))
                for n in range(50)
                for database in (one, two)
            ]
            answers = await asyncio.gather(*asked)
            assert [row["n"] for (row,) in answers] == [n for n in range(50) for _ in range(2)]
            taken = await asyncio.gather(one.in_transaction(one_at_a_time), two.in_transaction(one_at_a_time))
            assert sorted(taken) == [False, True]
            # No session has kept the lock.
            assert await one.in_transaction(one_at_a_time)
            assert await two.in_transaction(one_at_a_time)


async def test_the_limits_of_a_session_are_in_force(behind: RunPooler) -> None:
    with behind() as url:
        async with Database.open(_settings(url), "vyris-trial") as database:
            rows = await database.fetch("SELECT name, setting FROM pg_settings")
    in_force = {row["name"]: row["setting"] for row in rows}
    assert {"application_name": "vyris-trial", **_settings(url).session}.items() <= in_force.items()


async def test_a_limit_that_the_pooler_does_not_set_is_named(behind: RunPooler) -> None:
    with behind({"SET lock_timeout = 1000; ": "", "SET jit = off; ": "SET jit = on; "}) as url, capture_logs() as logs:
        async with Database.open(_settings(url), "trial") as database:
            assert not await database.holds(TABLE)
    assert [line["not_in_force"] for line in logs if line["event"] == "database_cannot_serve"] == [
        ["lock_timeout", "jit"]
    ]


@pytest.mark.parametrize("ignored", [False, True])
async def test_a_pooler_that_nobody_announced_is_named(behind: RunPooler, *, ignored: bool) -> None:
    """PgBouncer refuses settings in a session's start, or drops them where it was told to."""
    names = ",".join(_settings("postgresql://x/y").session)
    changes = {"pool_mode = transaction": f"pool_mode = transaction\nignore_startup_parameters = {names}"}
    with behind({**(changes if ignored else {}), "SET lock_timeout = 1000; ": ""}) as url, capture_logs() as logs:
        async with Database.open(_settings(url, postgres_pooler="none"), "trial") as database:
            for _ in range(3):
                assert not await database.holds(TABLE)
    said = [line for line in logs if line["event"].startswith("database_")]
    if ignored:
        assert any("lock_timeout" in line.get("not_in_force", ()) for line in said)
    else:
        (line,) = said  # once, although three checks failed
        assert "set POSTGRES_POOLER=transaction" in line["cause"]


async def test_a_read_only_server_behind_the_pooler_is_left(behind: RunPooler, database_url: str) -> None:
    """Before a switch-over the pooler may reach a standby; its sessions there end with RECONNECT."""
    name = urlsplit(database_url).path.lstrip("/")
    direct = await asyncpg.connect(database_url)
    try:
        await direct.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        with behind({"pool_mode": "admin_users = vyris\npool_mode"}) as url:
            async with Database.open(_settings(url), "trial") as database:
                assert not await database.holds(TABLE)
                await direct.execute("SET default_transaction_read_only = off")
                await direct.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
                assert not await database.holds(TABLE)
                console = await asyncpg.connect(with_database(url, "pgbouncer"), statement_cache_size=0)
                await console.execute("RECONNECT")
                await console.close()
                assert await database.holds(TABLE)
    finally:
        await direct.close()
