"""Slots for a batch: after any outcome the count is what it was before, less the claimed slots."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from services.mint.bouncer import Bouncer
from services.mint.grant import Grant


class Count:
    """A bouncer with one count in memory, which answers some time after it has changed the count."""

    def __init__(self, count: int) -> None:
        self.count = count

    async def take(self, _: str, wanted: int) -> int:
        granted = min(self.count, wanted)
        self.count -= granted
        await asyncio.sleep(0.02)
        return granted

    async def give_back(self, _: str, unused: int) -> None:
        self.count += unused


def grant(count: Count, wanted: int) -> Grant:
    return Grant(cast("Bouncer", cast("Any", count)), "{drop}", wanted)


@pytest.mark.parametrize("beside", [False, True], ids=["in its turn", "beside"])
@pytest.mark.parametrize(("wanted", "claimed", "left"), [(4, 4, 6), (4, 1, 9), (4, 0, 10), (20, 10, 0)])
async def test_unclaimed_slots_go_back(beside: bool, wanted: int, claimed: int, left: int) -> None:
    count = Count(10)
    async with grant(count, wanted) as slots:
        if not beside:
            assert await slots.limit() == min(wanted, 10)
        slots.used += claimed
    assert slots.is_enough == (wanted <= 10)
    assert count.count == left


async def test_a_batch_that_needs_no_slot_asks_for_none() -> None:
    async with grant(Count(10), 0) as slots:
        assert await slots.limit() == 0
    assert not slots.is_unknown


@pytest.mark.parametrize("waits_for_it", [False, True], ids=["beside step 2", "in step 1"])
async def test_a_batch_that_is_cancelled_keeps_nothing(waits_for_it: bool) -> None:
    count = Count(10)

    async def batch() -> None:
        async with grant(count, 4) as slots:
            await (slots.limit() if waits_for_it else asyncio.sleep(9))

    task = asyncio.create_task(batch())
    await asyncio.sleep(0.01)
    assert count.count == 6
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert count.count == 10
