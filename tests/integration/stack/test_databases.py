"""The databases that the stack starts."""

from __future__ import annotations

import asyncpg
import redis.asyncio as redis

from stack.local import Stack
from tests.fresh_database import flushing


async def test_each_test_gets_a_migrated_database_of_its_own(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM receipt_ledger") == 0
        assert await connection.fetchval("SELECT current_database()") != "vyris"
    finally:
        await connection.close()


async def test_postgres_is_durable_and_listens_on_no_port(databases: Stack) -> None:
    async with flushing(databases.database_url), asyncpg.create_pool(databases.database_url) as connection:
        settings = {
            name: await connection.fetchval(f"SHOW {name}")
            for name in (
                "fsync",
                "synchronous_commit",
                "full_page_writes",
                "listen_addresses",
                "log_parameter_max_length",
            )
        }
    assert settings == {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "listen_addresses": "",
        "log_parameter_max_length": "0",
    }


async def test_valkey_forgets_nothing_to_make_room_and_writes_nothing_to_disk(redis_url: str) -> None:
    async with redis.from_url(redis_url, decode_responses=True) as client:
        assert (await client.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"
        assert (await client.config_get("save"))["save"] == ""
        assert await client.dbsize() == 0


def test_only_the_owner_can_reach_the_sockets(databases: Stack) -> None:
    assert databases.state.sockets.stat().st_mode & 0o777 == 0o700
    assert databases.state.root.stat().st_mode & 0o777 == 0o700
    assert databases.state.ports_file.stat().st_mode & 0o777 == 0o600
