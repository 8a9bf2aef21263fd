"""The claim costs the same in a small drop and in a large one."""

from __future__ import annotations

import statistics
from typing import Any

import asyncpg

from stack.local import Stack
from tests.bench.claim_plan import ClaimCost, claim, make_drop
from tests.fresh_database import fresh_database

SMALL, LARGE = 1_000, 1_000_000
RECEIPTS = 64
CLAIMS = 5


async def _claims(server_url: str, capacity: int) -> list[ClaimCost]:
    """Some claims of a drop in its own database, so that the planner sees only that drop's size."""
    async with fresh_database(server_url) as url:
        connection: asyncpg.Connection[Any] = await asyncpg.connect(url)
        try:
            drop_id = await make_drop(connection, "planned", capacity)
            return [await claim(connection, drop_id, RECEIPTS) for _ in range(CLAIMS)]
        finally:
            await connection.close()


async def test_a_claim_in_a_drop_of_a_million_has_the_plan_and_the_cost_of_one_in_a_drop_of_a_thousand(
    database_template: Stack,
) -> None:
    small = await _claims(database_template.database_url, SMALL)
    large = await _claims(database_template.database_url, LARGE)

    assert {one.claimed for one in small + large} == {RECEIPTS}
    # In any order: joining three tiny tables in either order costs the planner the same.
    assert {tuple(sorted(one.nodes)) for one in large} == {tuple(sorted(one.nodes)) for one in small}
    assert any("Index Scan slots slots_pkey" in node for node in large[0].nodes), large[0].nodes
    assert not any(node.startswith("Seq Scan slots") or node == "Sort slots" for node in large[0].nodes)
    small_pages = statistics.median(one.pages_a_row for one in small)
    large_pages = statistics.median(one.pages_a_row for one in large)
    assert abs(large_pages - small_pages) <= 0.2 * small_pages, (small_pages, large_pages)
