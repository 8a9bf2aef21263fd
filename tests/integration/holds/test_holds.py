"""Holds of the engine: one for each user, one for each number, and each number is counted at every moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from services.data.storage.failures import DataRejected
from services.holds.cycle import TakenHold
from services.mint.statements import QUERIES
from tests.integration.holds.conftest import OpenShop, Shop, outcomes
from vyris.errors import DropNotOpen, HeldOut, HoldExpired, InvalidReceipt, SoldOut


async def test_the_same_user_64_times_at_once_in_two_processes_has_one_hold(open_shop: OpenShop) -> None:
    one = await open_shop()
    two = await open_shop(drop=one.drop)
    answers = await asyncio.gather(*((one, two)[n % 2].take("ada") for n in range(64)))
    assert len({answer.id for answer in answers}) == 1
    assert sum(not answer.replayed for answer in answers) == 1
    assert await one.value("SELECT count(*) FROM holds") == 1
    await one.check_sum()


async def test_many_users_for_the_last_numbers_never_get_sold_out_while_one_is_held(open_shop: OpenShop) -> None:
    one = await open_shop(capacity=10)
    two = await open_shop(drop=one.drop)
    answers = await outcomes(*((one, two)[n % 2].take(f"u{n}") for n in range(1_000)))
    assert Counter(type(answer) for answer in answers) == {TakenHold: 10, HeldOut: 990}
    assert await one.value("SELECT count(*) FROM holds") == 10
    assert await one.value("SELECT count(*) FROM person_keys") == 10  # a refusal leaves nothing
    await one.mint.engine.recount(one.drop)
    assert await one.mint.bouncer.read(one.mint.count_key) == 0  # held numbers are not for sale
    await one.check_sum()


async def test_a_hold_mints_its_number_without_the_bouncer(open_shop: OpenShop) -> None:
    shop = await open_shop(capacity=3)
    holds = [await shop.take(f"u{n}") for n in range(3)]
    numbers = [await shop.value("SELECT sequence_num FROM holds WHERE id = $1", hold.id) for hold in holds]
    await shop.mint.bouncer._client.set(shop.mint.count_key, -7)
    minted = await asyncio.gather(*(shop.pay(f"r{n}", f"u{n}") for n in range(3)))
    assert [membership.sequence_num for membership, _ in minted] == numbers
    assert await shop.value("SELECT count(*) FROM holds WHERE state = 'USED' AND membership_id IS NOT NULL") == 3
    assert await shop.pay("r1", "u1") == (minted[1][0], True)
    with pytest.raises(SoldOut):
        await shop.take("late")
    await shop.check_sum()


async def test_replays_of_mints_through_holds_are_one_read(
    open_shop: OpenShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await open_shop(capacity=3)
    await shop.take("ada")
    minted, _ = await shop.pay("r", "ada")
    assert await shop.pay("r", "ada") == (minted, True)
    for name in ("mint_held_receipts", "mint_counted_receipts"):
        monkeypatch.setitem(QUERIES._statements, name, "SELECT 1 / 0")
    assert await shop.pay("r", "ada") == (minted, True)


async def test_a_payment_waits_while_another_process_has_locked_its_hold(
    open_shop: OpenShop, database_url: str
) -> None:
    shop = await open_shop(capacity=2)
    await shop.take("ada")
    connection = await asyncpg.connect(database_url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT FROM holds FOR UPDATE")
        paying = asyncio.create_task(shop.pay("r", "ada"))
        await asyncio.sleep(0.3)
        assert not paying.done()  # it neither takes the free number nor is refused
        assert await shop.mint.ledger() == {"PENDING": 1}
        await transaction.rollback()
    finally:
        await connection.close()
    membership, _ = await paying
    assert membership.sequence_num == await shop.value("SELECT sequence_num FROM holds")
    await shop.check_sum()


async def test_a_receipt_without_a_hold_mints_what_nobody_holds(open_shop: OpenShop) -> None:
    shop = await open_shop(capacity=2)
    await shop.take("ada")
    assert (await shop.pay("r", "ben"))[1] is False
    with pytest.raises(HeldOut):
        await shop.pay("r2", "cem")
    assert await shop.mint.ledger() == {"FULFILLED": 1, "FAILED HELD_OUT": 1}
    await shop.pay("r3", "ada")
    with pytest.raises(SoldOut):
        await shop.pay("r2", "cem")
    await shop.check_sum()


async def test_a_lapsed_number_is_for_sale_again_and_its_payer_mints_until_then(open_shop: OpenShop) -> None:
    shop = await open_shop(capacity=2)
    await shop.take("ada")
    await shop.take("ben")
    await shop.expire()
    assert (await shop.pay("r", "ada"))[1] is False  # the hold has not lapsed yet
    await shop.lapse()
    await shop.check_sum()
    assert await shop.value("SELECT count(*) FROM holds WHERE state = 'LAPSED'") == 1
    assert await shop.mint.bouncer.read(shop.mint.count_key) == 1
    assert not (await shop.take("cem")).replayed


async def test_payments_at_the_moment_of_the_lapse_have_one_outcome(open_shop: OpenShop) -> None:
    one = await open_shop(capacity=60)
    two = await open_shop(drop=one.drop)
    await asyncio.gather(*(one.take(f"u{n}") for n in range(60)))
    await one.expire()
    stop = asyncio.Event()

    async def watch() -> None:
        while not stop.is_set():
            await one.check_sum()
            await asyncio.sleep(0.005)

    async def snatch() -> None:
        for n in range(60):  # new users take the numbers that come back
            await outcomes(one.take(f"new{n}"))

    watching = asyncio.create_task(watch())
    paying = [(one, two)[n % 2].pay(f"r{n}", f"u{n}") for n in range(60)]
    answers, *_ = await asyncio.gather(outcomes(*paying), one.lapse(), two.lapse(), snatch())
    stop.set()
    await watching
    assert {type(a) for a in answers} <= {tuple, HoldExpired}
    minted = sum(isinstance(answer, tuple) for answer in answers)
    ledger = await one.mint.ledger()
    assert ledger.pop("FULFILLED", 0) == minted
    assert sum(ledger.values()) == 60 - minted
    assert set(ledger) <= {"FAILED HOLD_EXPIRED", "FAILED HOLD_OFFERED"}
    await one.check_sum()


async def test_nothing_is_held_outside_the_opening_times(open_shop: OpenShop) -> None:
    shop: Shop = await open_shop(closes_at=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(DropNotOpen):
        await shop.take("ada")
    with pytest.raises(DropNotOpen):
        await shop.pay("r", "ada")


@pytest.mark.parametrize("end", ["lapsed", "released"])
async def test_a_receipt_for_an_earlier_hold_of_its_buyer_uses_the_live_one(open_shop: OpenShop, end: str) -> None:
    shop = await open_shop(capacity=3)
    ended = await shop.take("ada")
    if end == "released":
        assert await shop.holds.release(ended.id)
    else:
        await shop.expire()
        await shop.lapse()
    live = await shop.take("ada")
    minted, _ = await shop.pay("r", "ada", hold_id=ended.id)
    assert minted.id == str(live.id)
    await shop.take("ben")
    with pytest.raises(InvalidReceipt):  # a hold of somebody else
        await shop.pay("r2", "ben", hold_id=live.id)
    assert await shop.mint.ledger() == {"FULFILLED": 1, "FAILED HOLD_UNKNOWN": 1}
    await shop.check_sum()


async def test_a_drop_that_cannot_take_numbers_back_does_not_stop_the_others(open_shop: OpenShop) -> None:
    broken, other = await open_shop(), await open_shop()
    for shop in (broken, other):
        await shop.take("ada")
    await other.expire()
    # Changed by hand: the held number is for sale as well.
    await broken.database.execute(
        "INSERT INTO slots (drop_id, sort_order, sequence_num) "
        "SELECT drop_id, 1, sequence_num FROM holds WHERE drop_id = $1",
        broken.drop.id,
    )
    with pytest.raises(DataRejected):
        await other.lapses.once()
    states = await other.database.fetch("SELECT state::text FROM holds ORDER BY drop_id")
    assert [row["state"] for row in states] == ["HELD", "LAPSED"]
    await other.check_sum()


async def test_a_hold_can_be_paid_for_until_its_grace_is_over_even_after_the_close(open_shop: OpenShop) -> None:
    shop = await open_shop(capacity=2)
    for user, over_for_s in (("ada", 50), ("ben", 61)):  # the grace is 60 s
        await shop.take(user)
        await shop.database.execute(
            "UPDATE holds SET expires_at = now() - make_interval(secs => $2) WHERE user_id = $1", user, over_for_s
        )
    await shop.lapse()
    states = await shop.database.fetch("SELECT state::text FROM holds ORDER BY user_id")
    assert [row["state"] for row in states] == ["HELD", "LAPSED"]
    await shop.database.execute("UPDATE drops SET closes_at = now() WHERE id = $1", shop.drop.id)
    assert (await shop.pay("r", "ada"))[1] is False
    with pytest.raises(DropNotOpen):
        await shop.pay("late", "ben")
    await shop.check_sum()
