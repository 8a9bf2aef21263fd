"""Whatever somebody is answered from waits for the disk; a receipt that was merely entered rides on the next commit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.mint.receipts.verified import receipt_key
from services.mint.statements import QUERIES
from services.storage.connections import Connection
from tests.stand_ins.mint_engine import Mint, MintMaker


async def commit_of_entering(mint: Mint, receipt: str, *, sold_out: bool = False) -> tuple[str | None, str]:
    """The state that is told of a new receipt, and how the commit that enters it will wait."""

    async def enter(connection: Connection) -> tuple[str | None, str]:
        key = receipt_key("opaque", "", receipt)
        rows = await connection.fetch(
            QUERIES["enter_receipts"], mint.drop.id, [key], ["buyer"], ["opaque"], [None], sold_out
        )
        return rows[0]["state"] if rows else None, await connection.fetchval("SHOW synchronous_commit")

    return await mint.database.in_transaction(enter)


async def test_entering_a_receipt_does_not_wait_for_the_disk(make_mint: MintMaker) -> None:
    mint = await make_mint()
    assert await commit_of_entering(mint, "new") == (None, "off")
    assert await mint.ledger() == {"PENDING": 1}


async def test_what_is_answered_from_the_first_step_alone_waits_for_the_disk(make_mint: MintMaker) -> None:
    mint = await make_mint()
    assert await commit_of_entering(mint, "sold-out", sold_out=True) == ("FAILED", "on")
    now = datetime.now(UTC)
    closed = await make_mint(opens_at=now - timedelta(hours=2), closes_at=now - timedelta(hours=1))
    assert await commit_of_entering(closed, "late") == ("FAILED", "on")


@pytest.mark.parametrize("statement", ["mint_new_receipts", "fulfil_receipts", "refuse_if_sold_out", "fail_receipts"])
def test_no_other_step_touches_how_its_commit_waits(statement: str) -> None:
    assert "synchronous_commit" not in QUERIES[statement]
