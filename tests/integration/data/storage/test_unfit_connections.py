"""A connection that answers but cannot do its work is replaced, so that no service needs a restart."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from services.data.storage.connections import Connections
from services.data.storage.database import Database
from services.data.storage.failures import DatabaseUnavailable
from services.data.storage.settings import PostgresSettings
from stack.local import Stack
from stack.postgres import PORT
from tests.chaos.proxy import Proxy, Trouble
from tests.stand_ins.encounter_service import Client, environment, running

TABLE = "receipt_ledger"
READY_WITHIN_S = 5.0
INSERT = "INSERT INTO audit_log (actor, action, subject, reason) VALUES ('t', 't', 't', 't')"
# Any server: a URL that names no kind leads to it.
ANY_SERVER = "target_session_attrs=any"


def with_option(url: str, option: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{option}"


def tcp_url(database_url: str, port: int, *options: str) -> str:
    query = "&".join(("sslmode=disable", *options))
    return f"postgresql://vyris@127.0.0.1:{port}{urlsplit(database_url).path}?{query}"


@pytest.fixture
async def operator(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@asynccontextmanager
async def open_database(url: str, **settings: int) -> AsyncIterator[Database]:
    async with Database.open(PostgresSettings(database_url=url, **settings), "unfit") as database:
        yield database


async def set_read_only(operator: asyncpg.Connection, *, read_only: bool) -> None:
    name = await operator.fetchval("SELECT current_database()")
    await operator.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {'on' if read_only else 'off'}")


async def becomes(true: Callable[[], Awaitable[bool]], within_s: float = READY_WITHIN_S) -> float:
    """Wait until it is true; return the seconds."""
    began_s = time.monotonic()
    async with asyncio.timeout(within_s):
        while not await true():
            await asyncio.sleep(0.1)
    return time.monotonic() - began_s


@pytest.mark.parametrize("option", ["", ANY_SERVER])
async def test_a_service_that_met_a_read_only_server_first_leaves_it(
    database_url: str, operator: asyncpg.Connection, option: str
) -> None:
    await set_read_only(operator, read_only=True)
    async with open_database(with_option(database_url, option) if option else database_url) as database:
        for _ in range(3):
            assert not await database.holds(TABLE)
            with pytest.raises(DatabaseUnavailable):
                await database.execute(INSERT)
        await set_read_only(operator, read_only=False)
        await becomes(lambda: database.holds(TABLE))
        await database.execute(INSERT)


async def test_one_refused_write_replaces_every_connection_to_a_server_that_became_read_only(
    database_url: str, operator: asyncpg.Connection
) -> None:
    await set_read_only(operator, read_only=True)
    async with open_database(with_option(database_url, ANY_SERVER)) as database:
        await asyncio.gather(*(database.fetch("SELECT pg_sleep(0.1)") for _ in range(8)))
        await set_read_only(operator, read_only=False)
        with pytest.raises(DatabaseUnavailable, match="25006"):
            await database.execute(INSERT)
        for _ in range(8):
            await database.execute(INSERT)


async def test_a_connection_that_was_busy_when_all_expired_is_not_used_again(
    database_url: str, operator: asyncpg.Connection
) -> None:
    await set_read_only(operator, read_only=True)
    async with open_database(with_option(database_url, ANY_SERVER)) as database:
        busy = asyncio.create_task(database.fetch("SELECT pg_sleep(0.3)"))
        await asyncio.sleep(0.1)
        assert not await database.holds(TABLE)
        await set_read_only(operator, read_only=False)
        await busy
        for _ in range(8):
            await database.execute(INSERT)


async def test_a_revoked_right_fails_until_it_is_granted_again(database_url: str, operator: asyncpg.Connection) -> None:
    async with open_database(with_option(database_url, "role=vyris_mint")) as database:
        assert await database.holds(TABLE)
        await operator.execute("REVOKE ALL ON receipt_ledger FROM vyris_mint")
        assert not await database.holds(TABLE)
        with pytest.raises(DatabaseUnavailable, match="42501"):
            await database.fetch("SELECT count(*) FROM receipt_ledger")
        await operator.execute("SELECT grant_service_roles()")
        await becomes(lambda: database.holds(TABLE))


@pytest.mark.parametrize(
    ("breaks", "statement", "message"),
    [
        # A session reads its role's settings when it begins, and keeps running without a role that is dropped.
        ("SET search_path = nowhere", "SELECT count(*) FROM drops", "42P01"),
        ("SET ROLE vyris_wallet", "DELETE FROM drops WHERE false", "42501"),
        ("SET default_transaction_read_only = on", INSERT, "25006"),
        # A pooler that leads to another server: the statement was prepared at the first one.
        ("DEALLOCATE ALL", "SELECT 1 AS prepared", "26000"),
    ],
)
async def test_a_session_that_lost_what_it_needs_fails_one_call_and_is_replaced(
    database_url: str, breaks: str, statement: str, message: str
) -> None:
    async with open_database(database_url) as database:
        await database.fetch(statement)
        await database.execute(breaks)
        with pytest.raises(DatabaseUnavailable, match=message):
            await database.fetch(statement)
        await database.fetch(statement)


async def test_a_plan_is_made_again_after_its_result_type_changed(
    database_url: str, operator: asyncpg.Connection
) -> None:
    await operator.execute("CREATE TABLE moves (a int)")
    async with open_database(database_url) as database:

        async def in_transaction() -> object:
            return await database.in_transaction(lambda connection: connection.fetch("SELECT * FROM moves"))

        await in_transaction()
        await operator.execute("ALTER TABLE moves ALTER a TYPE text, ADD b int")
        with pytest.raises(DatabaseUnavailable):
            await in_transaction()
        await in_transaction()


async def test_wrong_data_and_conflicts_keep_the_connection(database_url: str) -> None:
    async with open_database(database_url, postgres_statement_timeout_ms=1_200) as database:

        async def backend() -> int:
            return (await database.fetch("SELECT pg_backend_pid() AS pid"))[0]["pid"]

        first = await backend()
        for statement in ("SELECT 1 / 0", "DO $$ BEGIN RAISE unique_violation; END $$", "SELECT pg_sleep(2)"):
            with pytest.raises(Exception, match="SQLSTATE"):
                await database.fetch(statement)
        assert await backend() == first


async def test_a_server_that_falls_silent_is_left_for_the_one_that_answers(databases: Stack, database_url: str) -> None:
    """The address leads to a server that accepts bytes and never answers; connections to it are never reset."""
    target = databases.state.sockets / f".s.PGSQL.{PORT}"
    async with Proxy("silent", target) as silent, Proxy("sound", target) as sound:
        silent.suffer(Trouble(directions=frozenset()))
        async with Proxy("address", ("127.0.0.1", silent.port)) as address:
            url = tcp_url(database_url, address.port)
            async with open_database(url, postgres_call_timeout_ms=3_500) as database:
                await asyncio.gather(*(database.fetch("SELECT pg_sleep(0.1)") for _ in range(8)))
                silent.suffer(Trouble(black_hole=True))
                assert not await database.holds(TABLE)
                address._target = ("127.0.0.1", sound.port)  # new connections alone; open ones get no notice
                assert await becomes(lambda: database.holds(TABLE)) < READY_WITHIN_S
                await asyncio.gather(*(database.fetch("SELECT pg_sleep(0.05)") for _ in range(8)))


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux alone has it")
async def test_the_kernel_ends_connections_whose_other_end_is_gone(databases: Stack, database_url: str) -> None:
    async with Proxy("postgres", databases.state.sockets / f".s.PGSQL.{PORT}") as proxy:
        settings = PostgresSettings(database_url=tcp_url(database_url, proxy.port), postgres_connect_timeout_ms=1_500)
        connections = Connections(settings, "sockets")
        await connections.open()
        connection = await connections.take()
        own = connection._con._transport.get_extra_info("socket")
        assert own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1_500
        assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 5
        await connections.give_back(connection)
        await connections.close(1)


@contextmanager
def encounter_process(database_url: str, folder: Path) -> Iterator[str]:
    settings = environment(database_url, folder / "state", LOG_LEVEL="info")
    with running(settings, folder=folder, wait=False) as (target,):
        yield target


async def test_a_process_that_started_at_a_read_only_server_serves_soon_after_the_primary_answers(
    database_url: str, operator: asyncpg.Connection, tmp_path: Path
) -> None:
    await set_read_only(operator, read_only=True)
    with encounter_process(with_option(database_url, ANY_SERVER), tmp_path) as target:
        client = Client(target)
        await becomes(client.answers, 20)
        for _ in range(5):
            assert not await client.is_serving()
            await asyncio.sleep(0.2)
        await set_read_only(operator, read_only=False)
        assert await becomes(client.is_serving) < READY_WITHIN_S
        await client.close()
