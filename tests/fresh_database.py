"""Databases for tests: each a copy of one migrated template, made in tens of milliseconds."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from schema.migrate import migrate

TEMPLATE = "vyris_template"
_numbers = itertools.count(1)


def with_database(url: str, database: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


async def create_template(server_url: str) -> None:
    """Make the migrated template on the server of `server_url`.

    From then on the server leaves writing to the disk to the kernel: a copy takes a third of the time, and only a
    machine that loses its power could show the difference.
    """
    await leave_flushing(server_url)
    await _on_server(server_url, f"CREATE DATABASE {TEMPLATE}")
    migrate(with_database(server_url, TEMPLATE))


@asynccontextmanager
async def fresh_database(server_url: str) -> AsyncIterator[str]:
    """URL of a new migrated, empty database. Afterwards its sessions are ended and it is dropped."""
    name = f"test_{next(_numbers)}"
    await _on_server(server_url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")
    try:
        yield with_database(server_url, name)
    finally:
        await _on_server(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def flushing(server_url: str) -> AsyncIterator[None]:
    """Let the server flush its commits in the meantime, as in production (fsync)."""
    await _on_server(server_url, "ALTER SYSTEM RESET fsync")
    await _reload(server_url, "on")
    try:
        yield
    finally:
        await leave_flushing(server_url)


async def leave_flushing(server_url: str) -> None:
    """Let the kernel flush again."""
    await _on_server(server_url, "ALTER SYSTEM SET fsync = off")
    await _reload(server_url, "off")


async def _reload(server_url: str, fsync: str) -> None:
    connection = await asyncpg.connect(with_database(server_url, "postgres"))
    try:
        await connection.execute("SELECT pg_reload_conf()")
        async with asyncio.timeout(5):
            while await connection.fetchval("SHOW fsync") != fsync:
                await asyncio.sleep(0.02)
    finally:
        await connection.close()


async def _on_server(server_url: str, statement: str) -> None:
    connection = await asyncpg.connect(with_database(server_url, "postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
