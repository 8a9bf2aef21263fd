"""Holds of the engine: one for each user, one for each number, and each number is counted at every moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from admin.people import erase_person
from admin.refunds import RefundDesk
from services.data.audit_log import Actor
from services.holds.cycle import TakenHold
from services.mint.cycle import MintAnswer
from services.mint.refunds.application import Refunds
from services.mint.refunds.notice import Notice
from services.mint.revocation import revoke
from services.mint.statements import QUERIES
from tests.integration.holds.conftest import OpenShop, Shop
from tests.integration.mint.receipts.notices import notice
from vyris.errors import (
    DropNotOpen,
    HeldOut,
    HoldExpired,
    InvalidReceipt,
    LimitReached,
    ReceiptUsed,
    SoldOut,
    VyrisError,
)


async def outcomes(*calls: Any) -> list[Any]:
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(answer, tuple | VyrisError) for answer in answers), answers
    return answers


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


@pytest.mark.parametrize("is_known", [False, True], ids=["new key", "key of a hold that ended"])
async def test_a_mint_through_a_hold_counts_the_keys_that_it_proves(open_shop: OpenShop, is_known: bool) -> None:
    shop = await open_shop(limits=("device",))
    if is_known:
        ended = await shop.take("ben", device="key")
        assert await shop.holds.release(ended.id)
    await shop.take("ada")
    assert (await shop.pay("r", "ada", device="key"))[1] is False
    with pytest.raises(LimitReached):
        await shop.take("cem", device="key")
    with pytest.raises(LimitReached):
        await shop.pay("r2", "cem", device="key")
    assert await shop.value("SELECT count(*) FROM person_keys WHERE held_by IS NOT NULL") == 2
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


async def test_a_late_payer_gets_the_next_number_that_comes_back(open_shop: OpenShop) -> None:
    shop = await open_shop(capacity=1)
    await shop.lose_hold("ada")
    ben = await shop.take("ben")
    for _ in range(2):
        with pytest.raises(HoldExpired):
            await shop.pay("late", "ada")
    assert await shop.mint.ledger() == {"FAILED HOLD_EXPIRED": 1}
    assert await shop.value("SELECT count(*) FROM late_payments") == 1
    assert await shop.holds.release(ben.id)
    with pytest.raises(HeldOut):  # it is held for ada now
        await shop.take("cem")
    with pytest.raises(HeldOut):
        await shop.pay("quick", "cem")
    assert (await shop.pay("late", "ada"))[1] is False
    assert await shop.value("SELECT count(*) FROM late_payments") == 0
    await shop.check_sum()


async def test_a_late_receipt_that_names_its_lapsed_hold_uses_the_number_it_is_offered(open_shop: OpenShop) -> None:
    shop = await open_shop(capacity=1, limits=("user",))
    ada = await shop.take("ada")
    await shop.expire()
    await shop.lapse()
    ben = await shop.take("ben")
    with pytest.raises(HoldExpired):
        await shop.pay("late", "ada", hold_id=ada.id)
    assert await shop.holds.release(ben.id)
    assert (await shop.pay("late", "ada", hold_id=ada.id))[1] is False
    await shop.check_sum()


@pytest.mark.parametrize("end", ["lapsed", "released"])
async def test_a_receipt_that_names_an_ended_hold_uses_the_one_that_its_user_has_now(
    open_shop: OpenShop, end: str
) -> None:
    shop = await open_shop(capacity=2)
    ended = await shop.take("ada")
    if end == "released":
        assert await shop.holds.release(ended.id)
    else:
        await shop.expire()
        await shop.lapse()
    live = await shop.take("ada")
    with pytest.raises(InvalidReceipt):
        await shop.pay("strange", "ben", hold_id=ended.id)
    membership, replayed = await shop.pay("late", "ada", hold_id=ended.id)
    assert (membership.id, replayed) == (str(live.id), False)
    await shop.check_sum()


@pytest.mark.parametrize("is_racing", [False, True])
async def test_a_receipt_that_a_number_is_held_for_mints_for_nobody_else(
    open_shop: OpenShop, monkeypatch: pytest.MonkeyPatch, is_racing: bool
) -> None:
    shop = await open_shop(capacity=2)
    await shop.lose_hold("ada")
    ben, _ = [await shop.take(user) for user in ("ben", "cem")]
    with pytest.raises(HoldExpired):
        await shop.pay("late", "ada")
    if is_racing:  # the number is offered after the statement has read the ledger, and before it locks the receipt
        name, known = "mint_held_receipts", "WHERE l.receipt_key = ANY ($2::bytea[])"
        assert QUERIES[name].count(known) == 1
        slow = QUERIES[name].replace(known, f"{known} AND (SELECT pg_sleep(0.5)) IS NOT NULL")
        monkeypatch.setitem(QUERIES._statements, name, slow)
        stranger = asyncio.create_task(shop.pay("late", "cem"))
        await asyncio.sleep(0.2)
        assert await shop.holds.release(ben.id)
    else:
        assert await shop.holds.release(ben.id)
        stranger = asyncio.create_task(shop.pay("late", "cem"))
    with pytest.raises(ReceiptUsed):
        await stranger
    assert (await shop.pay("late", "ada"))[1] is False
    assert (await shop.pay("own", "cem"))[1] is False
    assert await shop.value("SELECT count(*) FROM holds WHERE state = 'HELD'") == 0
    await shop.check_sum()


async def test_a_freed_refund_serves_the_line_too(open_shop: OpenShop) -> None:
    shop = await open_shop(capacity=1)
    await shop.lose_hold("ada")
    membership, _ = await shop.pay("first", "ben")
    with pytest.raises(HoldExpired):
        await shop.pay("late", "ada")

    async def refund(connection: Any) -> bool:
        return await revoke(connection, UUID(membership.id), reason="t", actor="t", frees_number=True)

    assert await shop.database.in_transaction(refund)
    await shop.check_sum()
    assert (await shop.pay("late", "ada"))[0].sequence_num == 1
    # The owner of the freed number may buy again, because his key no longer counts.
    assert await shop.value("SELECT count(*) FROM person_keys WHERE held_by IS NOT NULL") == 1


async def test_a_late_payment_is_refunded_or_minted_and_never_both(open_shop: OpenShop) -> None:
    shop = await open_shop(capacity=1, closes_at=datetime.now(UTC) + timedelta(hours=1))
    await shop.lose_hold("ada")
    ben = await shop.take("ben")
    with pytest.raises(HoldExpired):
        await shop.pay("late", "ada")
    desk = RefundDesk(shop.database, Actor("test", "by command"))
    assert await desk.due() == []  # a number may still come back
    await shop.database.execute("UPDATE drops SET closes_at = now() WHERE id = $1", shop.drop.id)
    due = await desk.due()
    assert [row["user_id"] for row in due] == ["ada"]
    exported, _ = await asyncio.gather(desk.export(), shop.holds.release(ben.id))
    assert [row["user_id"] for row in exported] == ["ada"]
    assert await shop.value("SELECT count(*) FROM late_payments") == 0
    with pytest.raises(VyrisError) as refused:
        await shop.pay("late", "ada")
    assert refused.value.reason == "INVALID_RECEIPT"
    await shop.check_sum()


async def test_an_offer_that_lapses_is_refundable_and_serves_the_next(open_shop: OpenShop) -> None:
    shop = await open_shop(capacity=1)
    for user in ("ada", "ben"):
        await shop.lose_hold(user)
    cem = await shop.take("cem")
    for user in ("ada", "ben"):
        with pytest.raises(HoldExpired):
            await shop.pay(f"late {user}", user)
    await shop.holds.release(cem.id)
    assert await shop.value("SELECT user_id FROM holds WHERE state = 'HELD'") == "ada"
    desk = RefundDesk(shop.database, Actor("test", "by command"))
    assert await desk.export() == []
    await shop.expire()
    await shop.lapse()
    assert await shop.value("SELECT user_id FROM holds WHERE state = 'HELD'") == "ben"
    assert [row["user_id"] for row in await desk.export()] == ["ada"]
    assert (await shop.pay("late ben", "ben"))[1] is False
    await shop.check_sum()


async def offer_to_refund(open_shop: OpenShop) -> tuple[Shop, Notice]:
    """A drop of one number, which is held for ada's late payment; and the notice that this payment is refunded."""
    shop = await open_shop(capacity=1)
    await shop.lose_hold("ada")
    ben = await shop.take("ben")
    with pytest.raises(HoldExpired):
        await shop.pay("late", "ada")
    await shop.holds.release(ben.id)
    key = await shop.value("SELECT receipt_key FROM receipt_ledger")
    assert await shop.value("SELECT receipt_key FROM holds WHERE state = 'HELD'") == key
    return shop, notice("REFUND", "late", receipt_key=key)


async def test_a_refund_ends_the_offer_to_its_receipt(open_shop: OpenShop) -> None:
    shop, refund = await offer_to_refund(open_shop)
    assert await Refunds(shop.database).apply(refund) == "REMEMBERED"
    await shop.check_sum()
    assert not (await shop.take("cem")).replayed  # the number is not kept for a payment that can never mint
    assert await shop.value("SELECT count(*) FROM person_keys WHERE held_by IS NOT NULL") == 1
    with pytest.raises(InvalidReceipt):
        await shop.pay("late", "ada")
    await shop.check_sum()


@pytest.mark.parametrize("is_sold", [False, True])
async def test_a_reversed_refund_of_an_offered_receipt_mints_or_is_refundable(
    open_shop: OpenShop, is_sold: bool
) -> None:
    shop, refund = await offer_to_refund(open_shop)
    refunds = Refunds(shop.database)
    await refunds.apply(refund)
    if is_sold:
        await shop.pay("cem's", "cem")
    reversal = notice("REFUND_REVERSED", "late", 1, receipt_key=refund.receipt_key)
    assert await refunds.apply(reversal) == "RESTORED"
    desk = RefundDesk(shop.database, Actor("test", "by command"))
    assert [row["user_id"] for row in await desk.due()] == ["ada"]
    if is_sold:
        with pytest.raises(HoldExpired):  # first in line again
            await shop.pay("late", "ada")
    else:
        assert (await shop.pay("late", "ada"))[1] is False
    await shop.check_sum()


async def test_a_refund_beside_the_lapse_of_the_offer_ends_it_once(open_shop: OpenShop) -> None:
    shop, refund = await offer_to_refund(open_shop)
    await shop.expire()
    outcome, _ = await asyncio.gather(Refunds(shop.database).apply(refund), shop.lapse())
    assert outcome == "REMEMBERED"
    await shop.lapse()
    assert await shop.value("SELECT count(*) FROM holds WHERE state = 'HELD'") == 0
    await shop.check_sum()
    reversal = notice("REFUND_REVERSED", "late", 1, receipt_key=refund.receipt_key)
    assert await Refunds(shop.database).apply(reversal) == "RESTORED"
    assert (await shop.pay("late", "ada"))[1] is False
    await shop.check_sum()


@pytest.mark.parametrize("sale", ["hold", "direct"])
async def test_a_restored_membership_counts_its_user_again(open_shop: OpenShop, sale: str) -> None:
    shop = await open_shop(capacity=3, sale=sale, limits=("user",), refund_frees_number=True)
    membership, _ = await shop.pay("first", "ada")
    key = await shop.value("SELECT receipt_key FROM receipt_ledger")
    refunds = Refunds(shop.database)
    assert await refunds.apply(notice("REFUND", "first", receipt_key=key)) == "REVOKED"
    assert await refunds.apply(notice("REFUND_REVERSED", "first", 1, receipt_key=key)) == "RESTORED"
    with pytest.raises(LimitReached):
        await shop.pay("second", "ada")
    if sale == "hold":
        with pytest.raises(LimitReached):
            await shop.take("ada")
    assert await shop.pay("first", "ada") == (membership, True)
    assert (await shop.pay("ben's", "ben"))[1] is False
    await shop.check_sum()


async def test_the_payment_of_an_erased_late_payer_is_refundable_at_once(open_shop: OpenShop) -> None:
    shop = await open_shop(capacity=1)  # it never closes
    await shop.lose_hold("ada")
    ben = await shop.take("ben")
    with pytest.raises(HoldExpired):
        await shop.pay("late", "ada")
    actor = Actor("test", "by request")
    await erase_person(shop.database, "ada", actor)
    assert [row["reason"] for row in await RefundDesk(shop.database, actor).due()] == ["ERASED"]
    await shop.holds.release(ben.id)
    assert not (await shop.take("cem")).replayed
    await shop.check_sum()


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


async def test_attempts_and_extensions_are_limited(open_shop: OpenShop) -> None:
    shop = await open_shop(capacity=5)
    for _ in range(2):
        hold = await shop.take("ada")
        assert await shop.holds.release(hold.id)
        assert not await shop.holds.release(hold.id)
    with pytest.raises(LimitReached):
        await shop.take("ada")
    hold = await shop.take("ben")
    longer = await shop.holds.extend(hold.id)
    assert longer == hold.expires_at + timedelta(seconds=600)
    assert await shop.holds.extend(hold.id) is None
    await shop.check_sum()


async def test_one_hold_or_membership_a_person(open_shop: OpenShop) -> None:
    shop = await open_shop(capacity=100, limits=("device",))
    two = await open_shop(drop=shop.drop)
    answers = await outcomes(*((shop, two)[n % 2].take(f"u{n}", device="key") for n in range(64)))
    assert Counter(type(answer) for answer in answers) == {TakenHold: 1, LimitReached: 63}
    assert sum(isinstance(a, TakenHold) for a in await outcomes(*(shop.take(f"w{n}") for n in range(64)))) == 64
    owner = await shop.value("SELECT user_id FROM holds WHERE user_id LIKE 'u%'")
    await shop.pay("r", owner)
    for user, proven in ((owner, {}), ("other", {"device": "key"})):  # now it counts for the membership
        with pytest.raises(LimitReached):
            await shop.take(user, **proven)
    with pytest.raises(LimitReached):
        await shop.pay("r2", "other", device="key")
    await shop.check_sum()


async def test_a_direct_drop_with_a_limit_records_receipts_beyond_it(open_shop: OpenShop) -> None:
    shop = await open_shop(capacity=10, sale="direct", limits=("user",))
    two = await open_shop(drop=shop.drop)
    answers = await outcomes(*((shop, two)[n % 2].pay(f"r{n}", "ada") for n in range(32)))
    minted: list[MintAnswer] = [answer for answer in answers if isinstance(answer, tuple)]
    assert len(minted) == 1
    assert sum(isinstance(answer, LimitReached) for answer in answers) == 31
    assert await shop.mint.ledger() == {"FULFILLED": 1, "FAILED LIMIT_REACHED": 31}
    assert len(await RefundDesk(shop.database, Actor("test", "by command")).due()) == 31
    assert (await shop.pay("ben's", "ben"))[1] is False
    await shop.check_sum()


async def test_nothing_is_held_outside_the_opening_times(open_shop: OpenShop) -> None:
    shop: Shop = await open_shop(closes_at=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(DropNotOpen):
        await shop.take("ada")
    with pytest.raises(DropNotOpen):
        await shop.pay("r", "ada")
