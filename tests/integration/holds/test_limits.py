"""Limits: a proven key counts once among the holds and live memberships of a drop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from admin.drop_desk import DropDesk, KeysDestroyed
from admin.limits import waive_limits
from admin.refunds import RefundDesk
from services.data.audit_log import Actor
from services.holds.cycle import TakenHold
from services.holds.ending import Forgetting
from services.mint.cycle import MintAnswer
from services.mint.refunds.application import Refunds
from tests.integration.holds.conftest import OpenShop, Shop, outcomes
from tests.integration.mint.receipts.notices import notice
from vyris.errors import DropNotOpen, LimitReached

OPERATOR = Actor("test", "by command")


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


async def refund(shop: Shop, receipt: str) -> Callable[[], Awaitable[str]]:
    """Refund the only receipt in the ledger, which frees its number; returns what reverses the refund."""
    key = await shop.value("SELECT receipt_key FROM receipt_ledger")
    refunds = Refunds(shop.database)
    assert await refunds.apply(notice("REFUND", receipt, receipt_key=key)) == "REVOKED"
    return lambda: refunds.apply(notice("REFUND_REVERSED", receipt, 1, receipt_key=key))


async def test_a_restored_membership_counts_all_its_keys_again(open_shop: OpenShop) -> None:
    shop = await open_shop(limits=("device", "payer"), refund_frees_number=True)
    await shop.pay("first", "ada", device="key", payer="card")
    reverse = await refund(shop, "first")
    tried = await shop.take("ben", device="key")
    assert await shop.holds.release(tried.id)
    assert await reverse() == "RESTORED"
    for proven in ({"device": "key"}, {"payer": "card"}):
        with pytest.raises(LimitReached):
            await shop.pay("second", "cem", **proven)
    with pytest.raises(LimitReached):
        await shop.take("cem", device="key")
    await shop.check_sum()


@pytest.mark.parametrize("by", ["the user", "the device", "a hold"])
async def test_a_membership_is_not_restored_beside_another_of_its_person(open_shop: OpenShop, by: str) -> None:
    shop = await open_shop(limits=("device",), refund_frees_number=True)
    await shop.pay("first", "ada", device="key")
    reverse = await refund(shop, "first")
    match by:
        case "the user":
            await shop.pay("second", "ada")
        case "the device":
            await shop.pay("second", "ben", device="key")
        case "a hold":
            await shop.take("ada")
    assert await reverse() == "NOT_RESTORED"
    assert await shop.value("SELECT count(*) FROM memberships WHERE revoked_at IS NULL") == (by != "a hold")
    assert [row["user_id"] for row in await RefundDesk(shop.database, OPERATOR).not_restored()] == ["ada"]
    await shop.check_sum()


async def test_a_waiver_forgets_every_key_whose_attempts_are_used_up(open_shop: OpenShop) -> None:
    shop = await open_shop(limits=("device",))
    for _ in range(2):
        hold = await shop.take("ada", device="key")
        assert await shop.holds.release(hold.id)
    other = await shop.take("ben", device="another key")
    with pytest.raises(LimitReached):
        await shop.take("ada", device="key")
    await waive_limits(shop.database, shop.drop, "ada", OPERATOR)
    assert not (await shop.take("ada", device="key")).replayed
    assert (await shop.take("ben")).id == other.id
    with pytest.raises(LimitReached):
        await shop.take("cem", device="another key")


async def test_a_drop_whose_person_keys_were_destroyed_does_not_open_again(open_shop: OpenShop) -> None:
    shop = await open_shop(closes_at=datetime.now(UTC) + timedelta(hours=1))
    await shop.pay("first", "ada")
    desk = DropDesk(shop.database, OPERATOR)
    await desk.close(shop.drop)
    await desk.schedule(shop.drop, None, datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(LimitReached):  # the limit counts after a pause too
        await shop.take("ada")
    await desk.close(shop.drop)
    await Forgetting(shop.database, 30).once()
    assert await shop.value("SELECT count(*) FROM person_keys") == 1
    await Forgetting(shop.database, 0).once()
    for table in ("person_keys", "released_keys", "drop_secrets"):
        assert await shop.value(f"SELECT count(*) FROM {table}") == 0  # noqa: S608 - a name
    with pytest.raises(KeysDestroyed):
        await desk.schedule(shop.drop, None, None)
    with pytest.raises(DropNotOpen):
        await shop.take("ada")
