"""SOLD_OUT is answered only from a fact that is at most a second old, also by a slow batch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from services.mint.revocation import revoke
from services.server import failpoints
from tests.stand_ins.mint_engine import Mint, MintMaker
from vyris.errors import SoldOut

SLOW_S = 1.3


@pytest.fixture
def slow_at(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "failpoints.json"
    failpoints.switch_on(file)
    yield file
    failpoints.switch_on(None)


async def free(mint: Mint, membership_id: str) -> None:
    assert await mint.database.in_transaction(
        lambda c: revoke(c, UUID(membership_id), reason="refund", actor="test", frees_number=True)
    )


@pytest.mark.parametrize("is_remembered", [True, False])
async def test_a_number_freed_while_a_batch_is_slow_is_sold(
    make_mint: MintMaker, slow_at: Path, is_remembered: bool
) -> None:
    mint = await make_mint(capacity=1, recount_interval_ms=50)
    first, _ = await mint.mint("first")
    if is_remembered:  # otherwise the batch reads the slots itself
        with pytest.raises(SoldOut):
            await mint.mint("second")
    faults = json.dumps({"mint.committed": {"action": "delay", "delay_s": SLOW_S}})
    await asyncio.to_thread(slow_at.write_text, faults, encoding="utf-8")
    slow = asyncio.create_task(mint.mint("third"))
    await asyncio.sleep(0.2)
    await asyncio.to_thread(slow_at.unlink)
    await free(mint, first.id)
    membership, replayed = await slow
    assert membership.sequence_num == first.sequence_num
    assert not replayed
