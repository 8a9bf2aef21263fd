"""The line: who pays after the hold has ended gets the next number that comes back, or the money, never both."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from admin.people import erase_person
from admin.refunds import RefundDesk
from services.data.audit_log import Actor
from services.holds.ending import Lapses
from services.mint.drops import DropDirectory
from services.mint.refunds.application import Refunds
from services.mint.refunds.notice import Notice
from services.mint.revocation import revoke
from services.mint.statements import QUERIES
from tests.integration.holds.conftest import OpenShop, Shop
from tests.integration.mint.receipts.notices import notice
from vyris.errors import HeldOut, HoldExpired, InvalidReceipt, ReceiptUsed, VyrisError


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
    # The owner of the freed number may buy again, because that user's key no longer counts.
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


async def test_the_number_of_an_erased_late_payer_comes_back_after_the_grace(open_shop: OpenShop) -> None:
    shop, _ = await offer_to_refund(open_shop)
    actor = Actor("test", "by request")
    await erase_person(shop.database, "ada", actor)
    at_once = Lapses(shop.database, shop.mint.bouncer, DropDirectory(shop.database), grace_s=0)
    while await at_once.once():
        pass
    assert [row["reason"] for row in await RefundDesk(shop.database, actor).due()] == ["OFFER_LAPSED"]
    assert not (await shop.take("cem")).replayed
    await shop.check_sum()


async def test_numbers_that_are_added_to_a_drop_go_to_the_line_first(open_shop: OpenShop) -> None:
    shop = await open_shop(capacity=1)
    await shop.lose_hold("ada")
    await shop.take("ben")
    with pytest.raises(HoldExpired):
        await shop.pay("late", "ada")
    await shop.mint.resize(3)
    assert not (await shop.take("cem")).replayed
    with pytest.raises(HeldOut):
        await shop.take("dan")
    assert (await shop.pay("late", "ada"))[1] is False
    await shop.check_sum()
