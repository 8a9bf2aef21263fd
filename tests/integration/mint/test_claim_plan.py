"""A drop of a million is created in time, and a claim in it costs what it costs in a small drop."""

from __future__ import annotations

import statistics
import time
from typing import Any

import asyncpg
import pytest

from admin.drops import NewDrop, create_drop
from stack.local import Stack
from tests.bench.claim_plan import ClaimCost, claim, make_drop, prepare
from tests.fresh_database import fresh_database

SMALL, LARGE = 1_000, 1_000_000
RECEIPTS = 64
CLAIMS = 5


async def _claims(connection: asyncpg.Connection[Any], drop_id: int) -> list[ClaimCost]:
    return [await claim(connection, drop_id, RECEIPTS) for _ in range(CLAIMS)]


async def _create_million(connection: asyncpg.Connection[Any]) -> int:
    """Create the drop as an operator does; return its id."""
    written: list[int] = []
    began = time.monotonic()
    async with connection.transaction():
        drop_id = await create_drop(connection, NewDrop("million", "2025", LARGE), written.append)  # type: ignore[arg-type]
    assert time.monotonic() - began < 30
    assert sum(written) == LARGE
    assert len(written) >= 10
    assert drop_id is not None
    return drop_id


@pytest.mark.alone
async def test_a_million_slots_are_created_in_under_30_s_and_a_claim_has_the_plan_and_the_cost_of_one_in_a_thousand(
    database_template: Stack,
) -> None:
    # Each drop in its own database, so that the planner sees only that drop's size.
    async with fresh_database(database_template.database_url) as url:
        connection: asyncpg.Connection[Any] = await asyncpg.connect(url)
        try:
            small = await _claims(connection, await make_drop(connection, "planned", SMALL))
        finally:
            await connection.close()
    async with fresh_database(database_template.database_url) as url:
        connection = await asyncpg.connect(url)
        try:
            drop_id = await _create_million(connection)
            await prepare(connection)
            large = await _claims(connection, drop_id)
        finally:
            await connection.close()

    assert {one.claimed for one in small + large} == {RECEIPTS}
    # In any order: joining three tiny tables in either order costs the planner the same.
    assert {tuple(sorted(one.nodes)) for one in large} == {tuple(sorted(one.nodes)) for one in small}
    assert any("Index Scan slots slots_pkey" in node for node in large[0].nodes), large[0].nodes
    assert not any(node.startswith("Seq Scan slots") or node == "Sort slots" for node in large[0].nodes)
    small_pages = statistics.median(one.pages_a_row for one in small)
    large_pages = statistics.median(one.pages_a_row for one in large)
    assert abs(large_pages - small_pages) <= 0.2 * small_pages, (small_pages, large_pages)
