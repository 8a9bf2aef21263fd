"""Plans that Postgres makes while tables are empty and keeps while they grow."""

from __future__ import annotations

import pytest

from services.data.storage.connections import Connection
from services.mint.statements import QUERIES
from tests.bench.claim_plan import PARAMETER_TYPES
from tests.stand_ins.mint_engine import MintMaker

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


@pytest.mark.parametrize("statement", PARAMETERS)
async def test_no_statement_of_the_cycle_reads_a_growing_table_from_end_to_end(
    make_mint: MintMaker, statement: str
) -> None:
    mint = await make_mint()
    types = PARAMETERS[statement]
    nothing = ", ".join("NULL" for _ in types.split(","))

    async def plan(connection: Connection) -> str:
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE planned ({types}) AS {QUERIES[statement]}")
        rows = await connection.fetch(f"EXPLAIN EXECUTE planned ({nothing})")
        await connection.execute("DEALLOCATE planned")
        return "\n".join(row[0] for row in rows)

    planned = await mint.database.in_transaction(plan)
    assert any(table in planned for table in GROWING)
    for table in GROWING:
        assert f"Seq Scan on {table}" not in planned
