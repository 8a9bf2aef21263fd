"""Refunds on real Postgres: what they change in the ledger, the membership, its number and the events."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from typing import Any

import asyncpg
import pytest

from services.mint.refunds.application import Refunds, apply_notice
from services.mint.refunds.notice import Notice
from services.mint.revocation import restore, revoke
from tests.integration.mint.receipts.notices import apply, key, mint_of, notice
from tests.stand_ins.mint_engine import Mint, MintMaker
from vyris.errors import InvalidReceipt, ReceiptUsed, SoldOut


async def free_numbers(mint: Mint) -> None:
    await mint.database.execute("UPDATE drops SET refund_frees_number = true WHERE id = $1", mint.drop.id)


async def list_events(mint: Mint) -> list[str]:
    rows = await mint.database.fetch("SELECT kind FROM membership_events ORDER BY id")
    return [row["kind"] for row in rows]


async def count_live(mint: Mint) -> int:
    return int(await mint.value("SELECT count(*) FROM memberships WHERE revoked_at IS NULL"))


async def test_a_refund_revokes_the_membership_and_writes_one_event(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=3)
    membership, _ = await mint_of(mint, "p")
    refund = notice("REFUND", "p")
    assert await apply(mint, *[refund] * 10) == ["REVOKED"] * 10
    assert await mint.ledger() == {"REFUNDED REFUND": 1}
    assert await count_live(mint) == 0
    assert await list_events(mint) == ["revoked"]
    audit = await mint.database.fetchrow("SELECT actor, action, subject, reason FROM audit_log")
    assert dict(audit or {}) == {
        "actor": "merchant",
        "action": "membership.revoke",
        "subject": membership.id,
        "reason": "REFUND",
    }
    with pytest.raises(InvalidReceipt, match="refunded"):
        await mint_of(mint, "p", "buyer")
    with pytest.raises(ReceiptUsed):
        await mint_of(mint, "p", "somebody")
    assert await mint.slots() == 2


async def test_the_same_notification_ten_times_at_once_has_one_effect(make_mint: MintMaker) -> None:
    mint = await make_mint()
    await mint_of(mint, "p")
    refund = notice("REFUND", "p")
    refunds = Refunds(mint.database)
    assert await asyncio.gather(*(refunds.apply(refund) for _ in range(10))) == ["REVOKED"] * 10
    assert await list_events(mint) == ["revoked"]
    assert await mint.value("SELECT count(*) FROM store_notifications") == 1


HISTORY = [("REFUND", 1.0), ("REFUND_REVERSED", 2.0), ("REVOKE", 3.0), ("REFUND_REVERSED", 4.0), ("REFUND", 5.0)]


@pytest.mark.parametrize("length", [2, 3, 4])
async def test_the_newest_notification_decides_in_any_order_of_arrival(make_mint: MintMaker, length: int) -> None:
    mint = await make_mint(capacity=40)
    await free_numbers(mint)
    for number, arrival in enumerate(itertools.permutations(HISTORY[:length])):
        purchase = f"p{number}"
        await mint_of(mint, purchase)
        notices = [notice(event, purchase, at_s) for event, at_s in arrival]
        await apply(mint, *notices, *notices, *reversed(notices))
        refunded = HISTORY[length - 1][0] != "REFUND_REVERSED"
        row = await mint.database.fetchrow(
            "SELECT l.state::text AS state, m.revoked_at IS NOT NULL AS revoked FROM receipt_ledger l "
            "JOIN memberships m USING (receipt_key) WHERE receipt_key = $1",
            key(purchase),
        )
        assert dict(row or {}) == {"state": "REFUNDED" if refunded else "FULFILLED", "revoked": refunded}, arrival
    await mint.slots()


async def test_two_notifications_of_one_moment_are_ordered_by_their_ids(make_mint: MintMaker) -> None:
    mint = await make_mint()
    pair = [notice("REFUND", "p", notification_id="a"), notice("REFUND_REVERSED", "p", notification_id="b")]
    for arrival in (pair, pair[::-1]):
        purchase = str(uuid.uuid4())
        await mint_of(mint, purchase)
        changed = [
            notice(each.event, purchase, notification_id=f"{each.notification_id} {purchase}") for each in arrival
        ]
        await apply(mint, *changed)
        assert await mint.value("SELECT state::text FROM receipt_ledger WHERE receipt_key = $1", key(purchase)) == (
            "FULFILLED"
        )


async def test_a_refund_before_the_mint_is_remembered_and_its_reversal_lets_it_mint(make_mint: MintMaker) -> None:
    mint = await make_mint()
    assert await apply(mint, notice("REFUND", "p", 1)) == ["REMEMBERED"]
    for _ in range(2):
        with pytest.raises(InvalidReceipt, match="refunded"):
            await mint_of(mint, "p")
    assert await apply(mint, notice("REFUND_REVERSED", "p", 2)) == ["RESTORED"]
    _, replayed = await mint_of(mint, "p")
    assert not replayed
    assert await mint.ledger() == {"FULFILLED": 1}
    assert await apply(mint, notice("REFUND", "p", 0)) == ["SUPERSEDED"]
    assert await apply(mint, notice("REFUND", "p", 3)) == ["REVOKED"]


async def test_a_reversal_that_arrives_before_its_refund_prevents_it(make_mint: MintMaker) -> None:
    mint = await make_mint()
    assert await apply(mint, notice("REFUND_REVERSED", "p", 2), notice("REFUND", "p", 1)) == ["UNCHANGED", "SUPERSEDED"]
    assert (await mint_of(mint, "p"))[1] is False


@pytest.mark.parametrize("event", ["REFUND", "REVOKE"])
async def test_a_refund_of_a_product_that_is_not_sold_yet_is_kept(make_mint: MintMaker, event: str) -> None:
    mint = await make_mint()
    assert await apply(mint, notice(event, "not listed yet")) == ["REMEMBERED"]
    with pytest.raises(InvalidReceipt, match="refunded"):
        await mint_of(mint, "not listed yet")
    assert await apply(mint, notice("REFUND_REVERSED", "not listed yet", 1)) == ["RESTORED"]
    assert (await mint_of(mint, "not listed yet"))[1] is False


async def insert_ignored(mint: Mint, refund: Notice) -> None:
    await mint.database.execute(
        "INSERT INTO store_notifications "
        "(kind, issuer, notification_id, event, receipt_key, transaction_id, signed_at, outcome) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, 'IGNORED')",
        *(refund.kind, refund.issuer, refund.notification_id, refund.event),
        *(refund.receipt_key, refund.transaction_id, refund.signed_at),
    )


async def test_refunds_that_an_earlier_version_ignored_are_applied_once(make_mint: MintMaker) -> None:
    mint = await make_mint()
    await mint_of(mint, "minted since")
    for purchase in ("minted since", "never sent", "reversed since"):
        await insert_ignored(mint, notice("REFUND", purchase, 1))
    await apply(mint, notice("REFUND_REVERSED", "reversed since", 2))
    refunds = Refunds(mint.database)
    assert [await refunds.apply_ignored() for _ in range(2)] == [3, 0]
    assert await count_live(mint) == 0
    assert await mint.ledger() == {"REFUNDED REFUND": 2}
    assert (await mint_of(mint, "reversed since"))[1] is False


async def test_an_ignored_refund_that_arrives_again_is_applied(make_mint: MintMaker) -> None:
    mint = await make_mint()
    refund = notice("REFUND", "p")
    await insert_ignored(mint, refund)
    assert await apply(mint, refund, refund) == ["REMEMBERED", "REMEMBERED"]
    with pytest.raises(InvalidReceipt, match="refunded"):
        await mint_of(mint, "p")


async def test_mints_and_refunds_of_the_same_purchases_at_once_leave_no_live_membership(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=60, mint_batch_limit=8)
    await free_numbers(mint)
    refunds = Refunds(mint.database)
    purchases = [f"p{number}" for number in range(60)]
    calls: list[Any] = []
    for purchase in purchases:
        calls += [mint_of(mint, purchase), refunds.apply(notice("REFUND", purchase)), mint_of(mint, purchase)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(answer, str | tuple | InvalidReceipt) for answer in answers), set(map(repr, answers))
    assert await count_live(mint) == 0
    assert await mint.ledger() == {"REFUNDED REFUND": 60}
    assert await mint.slots() == 60
    for purchase in purchases:
        with pytest.raises(InvalidReceipt):
            await mint_of(mint, purchase)


async def test_a_receipt_in_flight_when_the_refund_comes_does_not_mint(make_mint: MintMaker, database_url: str) -> None:
    """The refund locks the ledger's row while the mint waits for it, and the other way round."""
    mint = await make_mint()
    await mint.database.execute(
        "INSERT INTO receipt_ledger (receipt_key, state, drop_id, user_id, kind) "
        "VALUES ($1, 'PENDING', $2, 'buyer', 'merchant')",
        key("p"),
        mint.drop.id,
    )
    connection = await asyncpg.connect(database_url)
    refunding = connection.transaction()
    await refunding.start()
    assert await apply_notice(connection, notice("REFUND", "p", 1)) == ("REMEMBERED", False)  # type: ignore[arg-type]
    minting = asyncio.create_task(mint_of(mint, "p"))
    await asyncio.sleep(0.1)
    assert not minting.done()
    await refunding.commit()
    await connection.close()
    with pytest.raises(InvalidReceipt, match="refunded"):
        await minting
    assert await apply(mint, notice("REFUND_REVERSED", "p", 2)) == ["RESTORED"]
    assert await mint.ledger() == {"FAILED REFUND_REVERSED": 1}
    assert (await mint_of(mint, "p"))[1] is False


@pytest.mark.parametrize("frees", [True, False])
async def test_a_freed_number_is_sold_again_only_if_the_drop_says_so(make_mint: MintMaker, frees: bool) -> None:
    mint = await make_mint(capacity=1)
    if frees:
        await free_numbers(mint)
    first, _ = await mint_of(mint, "p")
    await apply(mint, notice("REFUND", "p"))
    assert await mint.slots() == (1 if frees else 0)
    if frees:
        second, _ = await mint_of(mint, "q")
        assert second.sequence_num == first.sequence_num
        assert second.id != first.id
    else:
        with pytest.raises(SoldOut):
            await mint_of(mint, "q")


@pytest.mark.parametrize("frees", [True, False])
async def test_a_reversal_restores_the_same_membership_and_takes_its_number_back(
    make_mint: MintMaker, frees: bool
) -> None:
    mint = await make_mint(capacity=2)
    if frees:
        await free_numbers(mint)
    first, _ = await mint_of(mint, "p")
    assert await apply(mint, notice("REFUND", "p", 1), notice("REFUND_REVERSED", "p", 2)) == ["REVOKED", "RESTORED"]
    assert await mint_of(mint, "p") == (first, True)
    assert await mint.slots() == 1
    assert await list_events(mint) == ["revoked", "restored"]
    await mint_of(mint, "q")
    assert await count_live(mint) == 2


async def count_not_restored(mint: Mint) -> int:
    from admin.statements import QUERIES

    return len(await mint.database.fetch(QUERIES["list_not_restored"], 100))


@pytest.mark.parametrize("gone", ["sold again", "withdrawn"])
async def test_a_reversal_whose_number_is_gone_restores_nothing_and_is_listed(make_mint: MintMaker, gone: str) -> None:
    mint = await make_mint(capacity=1)
    await free_numbers(mint)
    first, _ = await mint_of(mint, "p", "first")
    await apply(mint, notice("REFUND", "p", 1))
    if gone == "sold again":
        await mint_of(mint, "q", "second")
    else:
        await mint.resize(0)
    owners = await count_live(mint)
    assert await apply(mint, notice("REFUND_REVERSED", "p", 2)) == ["NOT_RESTORED"]
    assert await count_live(mint) == owners
    assert await count_not_restored(mint) == 1
    with pytest.raises(InvalidReceipt):
        await mint_of(mint, "p", "first")
    assert await mint.value("SELECT revoked_at IS NOT NULL FROM memberships WHERE id = $1", uuid.UUID(first.id))
    await mint.slots()
    # The purchase is refunded again: the operator has nothing left to do.
    await apply(mint, notice("REFUND", "p", 3))
    assert await count_not_restored(mint) == 0
    # That refund is reversed, too: the number is still gone.
    assert await apply(mint, notice("REFUND_REVERSED", "p", 4)) == ["NOT_RESTORED"]
    assert await count_not_restored(mint) == 1


async def test_a_reversal_does_not_restore_what_the_operator_had_revoked(make_mint: MintMaker) -> None:
    mint = await make_mint()
    membership, _ = await mint_of(mint, "p")
    await mint.database.in_transaction(
        lambda connection: revoke(
            connection, uuid.UUID(membership.id), reason="fraud", actor="alice", frees_number=False
        )
    )
    assert await apply(mint, notice("REFUND", "p", 1)) == ["REMEMBERED"]
    await apply(mint, notice("REFUND_REVERSED", "p", 2))
    assert await count_live(mint) == 0
    with pytest.raises(InvalidReceipt, match="revoked"):
        await mint_of(mint, "p")


async def test_revoking_twice_and_restoring_what_is_live_do_nothing(make_mint: MintMaker) -> None:
    mint = await make_mint()
    membership, _ = await mint_of(mint, "p")
    named = uuid.UUID(membership.id)

    async def revoke_once(which: uuid.UUID) -> bool:
        return await mint.database.in_transaction(
            lambda connection: revoke(connection, which, reason="r", actor="a", frees_number=True)
        )

    async def restore_once(which: uuid.UUID) -> bool:
        return await mint.database.in_transaction(lambda connection: restore(connection, which, reason="r", actor="a"))

    assert not await restore_once(named)
    assert await revoke_once(named)
    assert not await revoke_once(named)
    assert not await revoke_once(uuid.uuid4())
    assert await restore_once(named)
    assert not await restore_once(uuid.uuid4())
    assert await list_events(mint) == ["revoked", "restored"]
    assert await mint.slots() == 9
