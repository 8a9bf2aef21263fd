"""Drops: their numbers, their order, and their size."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

import pytest

from admin.drops import CannotResize, NewDrop, create_drop
from services.data.storage.connections import Connection
from services.data.storage.failures import DatabaseUnavailable, DataRejected
from services.mint.drop_watch import DropWatch
from services.mint.drops import TALLY_WRITERS, DropDirectory
from services.mint.revocation import revoke
from tests.stand_ins.mint_engine import MintMaker
from vyris.errors import NotFound


async def test_a_drop_has_each_number_once_in_an_order_that_no_other_drop_has(make_mint: MintMaker) -> None:
    one, two = await make_mint(capacity=999), await make_mint(capacity=999)
    orders = [
        [
            row["sequence_num"]
            for row in await m.database.fetch(
                "SELECT sequence_num FROM slots WHERE drop_id = $1 ORDER BY sort_order", m.drop.id
            )
        ]
        for m in (one, two)
    ]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(1, 1000))
    assert orders[0] != orders[1]


async def test_a_drop_has_the_tally_rows_of_all_writers(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=1)
    rows = await mint.database.fetch("SELECT writer FROM drop_tallies WHERE drop_id = $1", mint.drop.id)
    assert sorted(row["writer"] for row in rows) == list(range(TALLY_WRITERS))


async def test_creating_a_drop_again_changes_nothing(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=3)
    again = NewDrop(mint.drop.tier, mint.drop.year, 99)
    assert await mint.database.in_transaction(lambda c: create_drop(c, again)) is None
    assert await mint.slots() == 3


async def test_a_drop_cannot_be_deleted(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=3)
    await mint.mint("r")
    with pytest.raises(DataRejected):
        await mint.database.execute("DELETE FROM drops WHERE id = $1", mint.drop.id)


@pytest.mark.parametrize("capacity", [0, 4, 9, 10, 11, 50])
async def test_a_resized_drop_sells_exactly_its_new_capacity(make_mint: MintMaker, capacity: int) -> None:
    mint = await make_mint(capacity=10)
    sold = 0 if capacity < 4 else 3
    for n in range(sold):
        await mint.mint(f"r{n}")
    await mint.resize(capacity)
    assert await mint.slots() == capacity - sold
    answers = await asyncio.gather(*(mint.mint(f"s{n}") for n in range(60)), return_exceptions=True)
    assert sum(isinstance(answer, tuple) for answer in answers) == capacity - sold
    live = await mint.value("SELECT count(DISTINCT sequence_num) FROM memberships WHERE drop_id = $1", mint.drop.id)
    assert live == capacity


async def test_numbers_that_refunds_freed_come_back_with_a_larger_capacity(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=10)
    minted = [(await mint.mint(f"r{n}"))[0] for n in range(10)]

    async def refund(connection: Connection) -> None:
        for membership in minted[:6]:
            await revoke(connection, UUID(membership.id), reason="REFUND", actor="test", frees_number=True)

    await mint.database.in_transaction(refund)
    await mint.resize(4)
    assert await mint.slots() == 0
    await mint.resize(10)
    again = [(await mint.mint(f"s{n}"))[0] for n in range(6)]
    assert {m.sequence_num for m in [*minted[6:], *again]} == set(range(1, 11))
    rows = await mint.database.fetch("SELECT action, details ->> 'capacity' AS capacity FROM audit_log ORDER BY id")
    assert [tuple(row) for row in rows][-2:] == [("drop.resize", "4"), ("drop.resize", "10")]


async def test_a_drop_is_never_smaller_than_what_was_minted(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=5)
    for n in range(4):
        await mint.mint(f"r{n}")
    with pytest.raises(CannotResize):
        await mint.resize(3)
    assert await mint.slots() == 1


async def test_minted_and_remaining_are_the_capacity_at_most_a_second_old(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=5)
    watch = DropWatch(mint.database)
    first = await watch.read(mint.drop)
    assert (first.capacity, first.minted, first.remaining, first.state) == (5, 0, 5, "OPEN")
    for n in range(5):
        await mint.mint(f"r{n}")
    await asyncio.sleep(0.6)
    last = await watch.read(mint.drop)
    assert (last.minted, last.remaining, last.state) == (5, 0, "SOLD_OUT")


async def test_callers_who_ask_while_postgres_is_slow_share_one_failure(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=5)
    watch = DropWatch(mint.database)

    async def read_while_locked(connection: Connection) -> list[object]:
        await connection.execute("LOCK TABLE drops")
        began_s = time.monotonic()
        answers = await asyncio.gather(*(watch.read(mint.drop) for _ in range(20)), return_exceptions=True)
        assert time.monotonic() - began_s < 4
        return list(answers)

    answers = await mint.database.in_long_transaction(read_while_locked)
    assert {type(answer) for answer in answers} == {DatabaseUnavailable}
    assert (await watch.read(mint.drop)).remaining == 5


async def test_an_unknown_drop_is_asked_of_postgres_once_a_second(make_mint: MintMaker) -> None:
    mint = await make_mint()
    directory = DropDirectory(mint.database)
    for _ in range(2):
        with pytest.raises(NotFound):
            await directory.named("later", "2030")
    await mint.database.in_transaction(lambda c: create_drop(c, NewDrop("later", "2030", 1)))
    await asyncio.sleep(1.0)
    assert (await directory.named("later", "2030")).tier == "later"
