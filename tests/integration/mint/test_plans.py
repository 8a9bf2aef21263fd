"""Plans that Postgres makes while tables are empty and keeps while they grow."""

from __future__ import annotations

import re

import pytest

from services.data.storage.connections import Connection
from services.mint.statements import QUERIES
from tests.bench.claim_plan import PARAMETER_TYPES
from tests.stand_ins.mint_engine import Mint, MintMaker

PARAMETERS = {
    "mint_receipts": PARAMETER_TYPES,
    "record_receipts": "int, bytea[], text[], text[], text[]",
    "find_decided": "bytea[]",
    "mint_held_receipts": "int, bytea[], text[], text[], text[], text[], text[], text[], text[], uuid[], int, "
    "bigint[], text[], bytea[]",
    "mint_counted_receipts": "int, bytea[], text[], text[], text[], text[], text[], text[], text[], int, bigint, "
    "uuid[], int, bigint[], text[], bytea[]",
}
GROWING = ("receipt_ledger", "memberships", "slots", "holds", "person_keys")


# What a receipt's hold and a person's key are looked up by.
LOOK_UPS = re.compile(r"Index Cond: .*\b(user_id|id|digest) = ")
IS_ANY_HELD = "holds_one_of_a_number"  # reads one entry


async def generic_plan(mint: Mint, statement: str) -> list[str]:
    types = PARAMETERS[statement]
    nothing = ", ".join("NULL" for _ in types.split(","))

    async def plan(connection: Connection) -> list[str]:
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE planned ({types}) AS {QUERIES[statement]}")
        rows = await connection.fetch(f"EXPLAIN EXECUTE planned ({nothing})")
        await connection.execute("DEALLOCATE planned")
        return [row[0] for row in rows]

    return await mint.database.in_transaction(plan)


@pytest.mark.parametrize("statement", PARAMETERS)
async def test_no_statement_of_the_cycle_reads_a_growing_table_from_end_to_end(
    make_mint: MintMaker, statement: str
) -> None:
    planned = "\n".join(await generic_plan(await make_mint(), statement))
    assert any(table in planned for table in GROWING)
    for table in GROWING:
        assert f"Seq Scan on {table}" not in planned


@pytest.mark.parametrize("statement", ["mint_held_receipts", "mint_counted_receipts"])
async def test_holds_and_person_keys_are_looked_up_one_by_one(make_mint: MintMaker, statement: str) -> None:
    plan = await generic_plan(await make_mint(), statement)
    scans = [number for number, line in enumerate(plan) if re.search(r"Scan.* on (holds|person_keys)\b", line)]
    assert len(scans) >= 4
    for number in scans:
        assert IS_ANY_HELD in plan[number] or LOOK_UPS.search(plan[number + 1]), plan[number : number + 3]
