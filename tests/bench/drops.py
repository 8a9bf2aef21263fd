"""Drops for the benchmark, in the suite's database and in the baseline's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import asyncpg
import redis

from admin.statements import QUERIES as ADMIN_QUERIES
from services.mint.bouncer import count_key
from services.mint.drops import TALLY_WRITERS
from stack.local import Stack

YEAR = "2025"


@dataclass(frozen=True)
class BenchDrop:
    """A drop by name; all are of one year."""

    tier: str
    capacity: int
    year: str = YEAR


DROP = "INSERT INTO drops (tier, year, capacity) VALUES ($1, $2, $3) RETURNING id"

# A random order made by the server: quick even for ten million, and no order twice.
SLOTS = """
INSERT INTO slots (drop_id, sort_order, sequence_num)
SELECT $1, (random() * 4e11)::bigint * 10000000 + n, n FROM generate_series(1, $2::int) AS n ORDER BY 2
"""


async def create_for_suite(database_url: str, redis_url: str, drop: BenchDrop) -> int:
    """Create the drop and its count; its id."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            drop_id: int = await connection.fetchval(DROP, drop.tier, drop.year, drop.capacity)
            await connection.execute(ADMIN_QUERIES["create_tallies"], drop_id, TALLY_WRITERS)
            await connection.execute(SLOTS, drop_id, drop.capacity)
        await connection.execute("VACUUM ANALYZE slots")
    finally:
        await connection.close()
    _write_count(redis_url, count_key(drop.tier, drop.year, "production"), drop.capacity)
    return drop_id


def create_suite_drop(stack: Stack, drop: BenchDrop) -> int:
    """Create the drop in the suite of this stack; its id."""
    return asyncio.run(create_for_suite(stack.database_url, stack.redis_url, drop))


async def create_for_baseline(database_url: str, redis_url: str, drop: BenchDrop) -> int:
    """The same in the baseline's schema."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            drop_id: int = await connection.fetchval(DROP, drop.tier, drop.year, drop.capacity)
            await connection.execute(SLOTS, drop_id, drop.capacity)
        await connection.execute("VACUUM ANALYZE slots")
    finally:
        await connection.close()
    _write_count(redis_url, f"{{baseline:{drop.tier}:{drop.year}}}", drop.capacity)
    return drop_id


def _write_count(redis_url: str, key: str, count: int) -> None:
    with redis.from_url(redis_url) as client:
        client.set(key, count)
