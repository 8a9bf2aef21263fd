"""Settings that Postgres and Valkey get by name are in force."""

from __future__ import annotations

import re

import asyncpg
import pytest
import redis.asyncio as redis

from services.data.storage.database import Database
from services.data.storage.settings import PostgresSettings
from stack.local import Stack
from stack.postgres import CONFIGURATION, SETTINGS
from stack.valkey import MEMORY_LIMIT
from tests.fresh_database import flushing

GIVEN = dict(re.findall(r"^([a-z_]+) = '?(.*?)'?$", SETTINGS, re.MULTILINE))


async def test_every_setting_of_the_embedded_postgres_is_in_force(databases: Stack) -> None:
    async with flushing(databases.database_url), asyncpg.create_pool(databases.database_url) as connection:
        # The file's value, whether the server accepted it, and the source of the value in force.
        rows = await connection.fetch(
            "SELECT f.name, f.setting AS given, f.applied, f.error, s.sourcefile, s.pending_restart "
            "FROM pg_file_settings f LEFT JOIN pg_settings s ON lower(s.name) = f.name WHERE f.sourcefile LIKE $1",
            f"%/{CONFIGURATION}",
        )
    assert {row["name"] for row in rows} == GIVEN.keys()
    for row in rows:
        assert row["applied"], row
        assert row["error"] is None, row
        assert (row["sourcefile"] or "").endswith(f"/{CONFIGURATION}"), row
        assert not row["pending_restart"], row
        assert row["given"] == GIVEN[row["name"]] or "{" in GIVEN[row["name"]], row


async def test_every_setting_of_a_services_session_is_in_force(databases: Stack) -> None:
    settings = PostgresSettings(
        database_url=databases.database_url,
        postgres_lock_timeout_ms=1_111,
        postgres_statement_timeout_ms=2_222,
        postgres_call_timeout_ms=3_333,
    )
    async with Database.open(settings, "trial") as database:
        rows = await database.fetch("SELECT name, setting FROM pg_settings WHERE source IN ('client', 'session')")
    wanted = {
        "application_name": "trial",
        "lock_timeout": "1111",
        "statement_timeout": "2222",
        "idle_in_transaction_session_timeout": "3333",
        "transaction_timeout": "3333",
        "jit": "off",
        "enable_seqscan": "off",
    }
    assert wanted.items() <= {row["name"]: row["setting"] for row in rows}.items()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "0"),
        ("save", ""),
        ("appendonly", "no"),
        ("maxmemory", str(int(MEMORY_LIMIT.removesuffix("mb")) << 20)),
        ("maxmemory-policy", "noeviction"),
        ("unixsocketperm", "700"),
        ("daemonize", "no"),
        ("set-proc-title", "no"),
    ],
)
async def test_every_setting_of_the_embedded_valkey_is_in_force(databases: Stack, name: str, value: str) -> None:
    async with redis.from_url(databases.redis_url, decode_responses=True) as client:
        assert await client.config_get(name) == {name: value}
