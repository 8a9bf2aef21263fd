"""A managed Postgres gives its customers no superuser: an ordinary owner migrates, and the services work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from schema.migrate import migrate
from services.data.storage.database import Database
from services.data.storage.settings import PostgresSettings
from stack.local import Stack
from suite import NAMES
from tests.fresh_database import with_database

# What a service's readiness asks for.
TABLES = {"mint": "receipt_ledger", "encounter": "encounters", "wallet": "passes", "reforge": "reforge_requests"}


def _as(login: str, url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc.rpartition('@')[2]}"))


@asynccontextmanager
async def _connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def _assert_services_work(url: str, suffix: str) -> None:
    assert set(TABLES) == set(NAMES)
    for service, table in TABLES.items():
        settings = PostgresSettings(database_url=_as(f"{service}{suffix}", url))
        async with Database.open(settings, "test") as database:
            assert await database.holds(table), service


async def test_an_owner_who_may_create_roles_makes_groups_and_logins(tmp_path: Path) -> None:
    with Stack.isolated(tmp_path / "state", only={"postgres"}) as server:
        async with _connection(server.database_url) as administrator:
            await administrator.execute("CREATE ROLE owner LOGIN CREATEROLE")
            await administrator.execute("CREATE DATABASE club OWNER owner")
        url = _as("owner", with_database(server.database_url, "club"))
        await asyncio.to_thread(migrate, url)
        async with _connection(url) as owner:
            assert not await owner.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
            for service in NAMES:
                await owner.execute(f"CREATE ROLE {service}_login LOGIN IN ROLE vyris_{service}")
            await owner.execute("CREATE ROLE ada LOGIN IN ROLE vyris_operator")
        await _assert_services_work(url, "_login")
        async with _connection(_as("ada", url)) as operator:
            assert await operator.fetchval("SELECT count(*) FROM drops") == 0


async def test_an_owner_who_may_not_create_roles_uses_those_that_are_there(database_template: Stack) -> None:
    """The groups and logins were made by an administrator, as on a server with other databases of ours."""
    logins = [f"{service}_plain" for service in NAMES]
    async with _connection(database_template.database_url) as administrator:
        await administrator.execute("CREATE ROLE plain_owner LOGIN")
        await administrator.execute("CREATE DATABASE plain OWNER plain_owner")
        for service, login in zip(NAMES, logins, strict=True):
            await administrator.execute(f"CREATE ROLE {login} LOGIN IN ROLE vyris_{service}")
        try:
            url = _as("plain_owner", with_database(database_template.database_url, "plain"))
            await asyncio.to_thread(migrate, url)
            await _assert_services_work(url, "_plain")
            async with _connection(_as("mint_plain", url)) as mint:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await mint.fetch("SELECT * FROM contacts")
        finally:
            await administrator.execute("DROP DATABASE plain WITH (FORCE)")
            for role in ("plain_owner", *logins):
                await administrator.execute(f"DROP ROLE {role}")
