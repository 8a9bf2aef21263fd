"""What the claim statement costs inside Postgres: its plan and the pages it touches, by EXPLAIN.

The plan is the one that a service keeps, made for any arguments and without scans from end to end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg

from admin.statements import QUERIES as ADMIN_QUERIES
from services.mint.drops import TALLY_WRITERS
from services.mint.statements import QUERIES
from services.mint.stock import FROM_THE_START
from tests.bench.drops import DROP, SLOTS, YEAR

TALLY_WRITER = 0
PARAMETER_TYPES = "int, bytea[], text[], text[], text[], text[], text[], text[], text[], int, bigint, bool, int"


@dataclass(frozen=True)
class ClaimCost:
    """One execution of `mint_receipts`."""

    nodes: tuple[str, ...]  # kind, index and table of each node, in the plan's order
    claimed: int
    pages: int  # of shared buffers, found or read
    milliseconds: float
    wal_bytes: int

    @property
    def pages_a_row(self) -> float:
        """Pages touched for each slot that was claimed."""
        return self.pages / self.claimed


async def make_drop(connection: asyncpg.Connection[Any], tier: str, capacity: int) -> int:
    """A drop whose statistics are fresh, and the statement prepared on this connection; the drop's id."""
    drop_id: int = await connection.fetchval(DROP, tier, YEAR, capacity)
    await connection.execute(ADMIN_QUERIES["create_tallies"], drop_id, TALLY_WRITERS)
    await connection.execute(SLOTS, drop_id, capacity)
    await prepare(connection)
    return drop_id


async def prepare(connection: asyncpg.Connection[Any]) -> None:
    """Make the statistics of all drops fresh, and prepare the statement on this connection."""
    await connection.execute("VACUUM ANALYZE slots")
    await connection.execute(
        "SET enable_seqscan = off; SET enable_mergejoin = off; SET plan_cache_mode = force_generic_plan"
    )
    await connection.execute(f"PREPARE mint ({PARAMETER_TYPES}) AS {QUERIES['mint_receipts']}")


async def claim(connection: asyncpg.Connection[Any], drop_id: int, receipts: int) -> ClaimCost:
    """Mint so many new receipts in one statement, explained. They stay minted."""
    keys = ",".join(f"'\\x{key.hex()}'::bytea" for key in sorted(os.urandom(32) for _ in range(receipts)))
    users, kinds = (f"array_fill('{word}'::text, ARRAY[{receipts}])" for word in ("buyer", "opaque"))
    nothing = "'{}'"
    arguments = (
        f"{drop_id}, ARRAY[{keys}], {users}, {nothing}, {nothing}, {nothing}, {nothing}, "
        f"{kinds}, {nothing}, {receipts}, {FROM_THE_START}, false, {TALLY_WRITER}"
    )
    output = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, WAL, FORMAT JSON) EXECUTE mint ({arguments})")
    explained = json.loads(output)[0]
    plan = explained["Plan"]
    return ClaimCost(
        nodes=tuple(_nodes(plan)),
        claimed=int(plan["Actual Rows"]),
        pages=plan["Shared Hit Blocks"] + plan["Shared Read Blocks"],
        milliseconds=explained["Execution Time"],
        wal_bytes=plan["WAL Bytes"],
    )


def _nodes(plan: dict[str, Any]) -> Iterator[str]:
    words = [plan["Node Type"], plan.get("Operation", ""), plan.get("Relation Name", ""), plan.get("Index Name", "")]
    yield " ".join(word for word in words if word)
    for child in plan.get("Plans", []):
        yield from _nodes(child)
