"""The mint cycle on real Postgres and Valkey: who gets a membership, and the state of the ledger."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from admin.refunds import RefundDesk
from services.data.audit_log import Actor
from services.mint.ledger import EnrolledDevice
from tests.stand_ins.mint_engine import Mint, MintMaker, eventually, order
from vyris.errors import DropNotOpen, InvalidReceipt, ReceiptUsed, Retryable, SoldOut


async def outcomes(*calls: Any) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_a_receipt_becomes_one_membership_and_replays_it(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=3)
    minted, replayed = await mint.mint("r")
    again, replayed_again = await mint.mint("r")
    assert (replayed, replayed_again) == (False, True)
    assert minted == again
    assert 1 <= minted.sequence_num <= 3
    assert await mint.ledger() == {"FULFILLED": 1}
    assert await mint.slots() == 2


async def test_a_receipt_that_cannot_even_be_entered_fails_alone(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=5)
    answers = await outcomes(*(mint.mint(f"r{n}", "nul \x00" if n == 2 else "buyer") for n in range(4)))
    assert isinstance(answers[2], InvalidReceipt)  # no retry can fix it
    assert sum(isinstance(answer, tuple) for answer in answers) == 3
    assert await mint.ledger() == {"FULFILLED": 3}
    assert await mint.bouncer.read(mint.count_key) == await mint.slots() == 2


async def test_64_copies_at_once_are_one_membership(make_mint: MintMaker) -> None:
    mint = await make_mint()
    answers = await asyncio.gather(*(mint.mint("r") for _ in range(64)))
    assert len({membership for membership, _ in answers}) == 1
    assert sorted(replayed for _, replayed in answers) == [False] + [True] * 63
    assert await mint.ledger() == {"FULFILLED": 1}
    assert await mint.slots() == 9


async def test_64_copies_in_two_processes_are_one_membership(make_mint: MintMaker) -> None:
    one = await make_mint()
    two = await make_mint(drop=one.drop)
    answers = await asyncio.gather(*((one, two)[n % 2].mint("r") for n in range(64)))
    assert len({membership.id for membership, _ in answers}) == 1
    assert await one.ledger() == {"FULFILLED": 1}
    assert await one.slots() == 9


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_receipt_belongs_to_the_user_whose_mint_committed_first(make_mint: MintMaker, processes: int) -> None:
    one = await make_mint()
    mints = [one, await make_mint(drop=one.drop)][:processes]
    calls = [mints[n % processes].mint("r", f"user-{n // 32}") for n in range(64)]
    answers = await outcomes(*calls)
    winners = {answer[0].user_id for answer in answers if isinstance(answer, tuple)}
    assert len(winners) == 1
    assert sum(isinstance(answer, tuple) for answer in answers) == 32
    assert sum(isinstance(answer, ReceiptUsed) for answer in answers) == 32
    assert await one.ledger() == {"FULFILLED": 1}


async def test_a_drop_sells_exactly_its_capacity_and_records_each_refusal(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=50, mint_batch_limit=16)
    answers = await outcomes(*(mint.mint(f"r{n}", f"u{n}") for n in range(300)))
    numbers = [answer[0].sequence_num for answer in answers if isinstance(answer, tuple)]
    assert sorted(numbers) == list(range(1, 51))
    assert numbers != sorted(numbers)
    assert sum(isinstance(answer, SoldOut) for answer in answers) == 250
    assert await mint.ledger() == {"FULFILLED": 50, "FAILED SOLD_OUT": 250}
    assert await mint.bouncer.read(mint.count_key) == 0


async def test_two_processes_sell_exactly_the_capacity(make_mint: MintMaker) -> None:
    one = await make_mint(capacity=40, mint_batch_limit=8)
    two = await make_mint(drop=one.drop, mint_batch_limit=8)
    answers = await outcomes(*((one, two)[n % 2].mint(f"r{n}") for n in range(200)))
    assert sorted(a[0].sequence_num for a in answers if isinstance(a, tuple)) == list(range(1, 41))
    assert sum(isinstance(answer, SoldOut) for answer in answers) == 160
    assert await one.slots() == 0


async def test_a_sold_out_drop_still_replays(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=1)
    minted, _ = await mint.mint("r")
    with pytest.raises(SoldOut):
        await mint.mint("other")
    assert await mint.mint("r") == (minted, True)
    with pytest.raises(ReceiptUsed):
        await mint.mint("r", "thief")


@pytest.mark.parametrize("count", [0, -5, 1_000_000])
async def test_postgres_decides_with_any_count_in_redis(make_mint: MintMaker, count: int) -> None:
    mint = await make_mint(capacity=20)
    await mint.bouncer.write(mint.count_key, count)
    answers = await outcomes(*(mint.mint(f"r{n}") for n in range(30)))
    assert sum(isinstance(answer, tuple) for answer in answers) == 20
    assert sum(isinstance(answer, SoldOut) for answer in answers) == 10


async def test_a_missing_count_is_unknown_and_is_written_again(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=20)
    await mint.bouncer._client.flushall()
    await mint.mint("r")
    await eventually(mint.is_counted)  # after the answer
    assert await mint.bouncer.read(mint.count_key) == 19


async def test_minting_goes_on_without_redis(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=2, redis_url="redis://127.0.0.1:1")
    answers = await outcomes(*(mint.mint(f"r{n}") for n in range(3)))
    assert sum(isinstance(answer, tuple) for answer in answers) == 2
    assert sum(isinstance(answer, SoldOut) for answer in answers) == 1


@pytest.mark.parametrize("table", ["receipt_ledger", "contacts"], ids=["entering", "claiming"])
async def test_slots_come_back_when_postgres_fails(make_mint: MintMaker, database_url: str, table: str) -> None:
    mint = await make_mint(capacity=5)
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(f"ALTER TABLE {table} RENAME TO elsewhere")
        with pytest.raises(Retryable):
            await mint.mint("r")
        assert await mint.bouncer.read(mint.count_key) == 5
        await connection.execute(f"ALTER TABLE elsewhere RENAME TO {table}")
    finally:
        await connection.close()
    await mint.mint("r")
    assert await mint.slots() == 4


async def test_slots_that_others_have_locked_mean_retry_and_not_sold_out(
    make_mint: MintMaker, database_url: str
) -> None:
    mint = await make_mint(capacity=1)
    connection = await asyncpg.connect(database_url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("SELECT FROM slots FOR UPDATE")
    waiting = asyncio.create_task(mint.mint("r"))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await transaction.rollback()
    await connection.close()
    assert (await waiting)[1] is False


async def test_a_receipt_that_others_have_locked_does_not_block_the_rest(
    make_mint: MintMaker, database_url: str
) -> None:
    mint = await make_mint(capacity=20)
    await enter_pending(mint, "held")
    connection = await asyncpg.connect(database_url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("SELECT FROM receipt_ledger FOR UPDATE")
    held = asyncio.create_task(mint.mint("held"))
    async with asyncio.timeout(2):
        await asyncio.gather(*(mint.mint(f"r{n}") for n in range(10)))
    assert not held.done()
    await transaction.rollback()
    await connection.close()
    await held
    assert await mint.ledger() == {"FULFILLED": 11}


async def test_a_receipt_whose_data_postgres_refuses_fails_alone(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=20)
    too_long = "x" * 300
    calls = [mint.mint(f"r{n}", email=too_long if n == 7 else f"u{n}@example.org") for n in range(16)]
    answers = await outcomes(*calls)
    assert isinstance(answers[7], Retryable)
    assert sum(isinstance(answer, tuple) for answer in answers) == 15
    assert await mint.ledger() == {"FULFILLED": 15, "FAILED POISONED": 1}
    assert await mint.slots() == 5
    assert await mint.bouncer.read(mint.count_key) == 5


async def test_a_receipt_that_postgres_refuses_again_gets_a_final_answer_and_is_due_for_a_refund(
    make_mint: MintMaker,
) -> None:
    mint = await make_mint()
    too_long = "x" * 300
    with pytest.raises(Retryable):
        await mint.mint("r", email=too_long)
    for _ in range(2):
        with pytest.raises(InvalidReceipt, match="pay it back") as answer:
            await mint.mint("r", email=too_long)
        assert not answer.value.retryable
    assert await mint.ledger() == {"FAILED POISONED": 1}
    due = await RefundDesk(mint.database, Actor("operator", "by command")).due()
    assert [row["reason"] for row in due] == ["POISONED"]
    # The cause is fixed: the buyer gets the membership after all.
    assert (await mint.mint("r", email="buyer@example.org"))[1] is False
    assert await mint.ledger() == {"FULFILLED": 1}


async def test_a_receipt_before_the_opening_is_recorded_and_mints_after_it(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=3, opens_at=datetime.now(UTC) + timedelta(hours=1))
    desk = RefundDesk(mint.database, Actor("test", "by command"))
    for _ in range(2):  # the first time it is new, the second time it is in the ledger
        with pytest.raises(DropNotOpen) as answer:
            await mint.mint("r")
        assert answer.value.retryable
        assert await mint.ledger() == {"FAILED DROP_NOT_OPEN": 1}
    with pytest.raises(DropNotOpen):
        await mint.mint("s")
    assert await mint.ledger() == {"FAILED DROP_NOT_OPEN": 2}
    assert await mint.slots() == 3
    assert await desk.export() == []  # its buyer got a retryable answer
    await mint.database.execute("UPDATE drops SET opens_at = now() WHERE id = $1", mint.drop.id)
    membership, replayed = await mint.mint("r")
    assert not replayed
    assert await mint.mint("r") == (membership, True)
    assert await mint.ledger() == {"FULFILLED": 1, "FAILED DROP_NOT_OPEN": 1}
    assert [row["reason"] for row in await desk.export()] == ["DROP_NOT_OPEN"]


async def test_a_receipt_that_came_too_early_and_then_too_late_is_sold_out(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=1, opens_at=datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(DropNotOpen):
        await mint.mint("early")
    await mint.database.execute("UPDATE drops SET opens_at = now() WHERE id = $1", mint.drop.id)
    await mint.mint("in time")
    for _ in range(2):
        with pytest.raises(SoldOut):
            await mint.mint("early")
        assert await mint.ledger() == {"FULFILLED": 1, "FAILED SOLD_OUT": 1}


async def test_after_closing_a_receipt_is_refundable_and_a_replay_still_answers(make_mint: MintMaker) -> None:
    mint = await make_mint()
    minted, _ = await mint.mint("before")
    await mint.database.execute("UPDATE drops SET closes_at = now() WHERE id = $1", mint.drop.id)
    with pytest.raises(DropNotOpen) as answer:
        await mint.mint("after")
    assert not answer.value.retryable
    assert await mint.mint("before") == (minted, True)
    assert await mint.ledger() == {"FULFILLED": 1, "FAILED DROP_CLOSED": 1}


async def test_a_pending_receipt_of_a_closed_drop_is_refundable(make_mint: MintMaker) -> None:
    mint = await make_mint()
    await enter_pending(mint, "r")
    await mint.database.execute("UPDATE drops SET closes_at = now() WHERE id = $1", mint.drop.id)
    with pytest.raises(DropNotOpen):
        await mint.mint("r")
    assert await mint.ledger() == {"FAILED DROP_CLOSED": 1}


@pytest.mark.parametrize("state", ["REFUND_DUE", "REFUNDED"])
async def test_a_receipt_that_is_refunded_never_mints(make_mint: MintMaker, state: str) -> None:
    mint = await make_mint()
    await enter_pending(mint, "r")
    await mint.database.execute("UPDATE receipt_ledger SET state = $1::receipt_state", state)
    with pytest.raises(InvalidReceipt):
        await mint.mint("r")
    assert await mint.slots() == 10


@pytest.mark.parametrize("state", ["FULFILLED", "REFUNDED"])
async def test_other_users_get_receipt_used_even_after_a_refund(make_mint: MintMaker, state: str) -> None:
    mint = await make_mint()
    await mint.mint("r")
    await mint.database.execute("UPDATE memberships SET revoked_at = now()")
    await mint.database.execute("UPDATE receipt_ledger SET state = $1::receipt_state", state)
    with pytest.raises(InvalidReceipt):
        await mint.mint("r")
    with pytest.raises(ReceiptUsed):
        await mint.mint("r", "thief")


async def test_a_revoked_membership_is_not_replayed(make_mint: MintMaker) -> None:
    mint = await make_mint()
    await mint.mint("r")
    await mint.database.execute("UPDATE memberships SET revoked_at = now()")
    with pytest.raises(InvalidReceipt):
        await mint.mint("r")
    with pytest.raises(ReceiptUsed):
        await mint.mint("r", "thief")


async def test_a_failed_receipt_mints_once_there_are_slots_again(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=0)
    with pytest.raises(SoldOut):
        await mint.mint("r")
    await mint.resize(1)
    await asyncio.sleep(0.6)  # as long as "sold out" is cached
    assert (await mint.mint("r"))[0].sequence_num == 1


async def test_a_returned_number_is_sold_although_later_slots_were_claimed(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=5)
    for n in range(5):
        await mint.mint(f"r{n}")
    await mint.database.execute("UPDATE memberships SET revoked_at = now() WHERE sequence_num = 3")
    await mint.database.execute("INSERT INTO slots (drop_id, sort_order, sequence_num) VALUES ($1, 0, 3)", mint.drop.id)
    await mint.database.execute(
        "UPDATE drop_tallies SET taken = taken - 1 WHERE drop_id = $1 AND taken > 0", mint.drop.id
    )
    assert (await mint.mint("new"))[0].sequence_num == 3


async def test_email_and_device_are_written_by_the_mint_that_fulfils_and_by_no_replay(make_mint: MintMaker) -> None:
    mint = await make_mint()
    await mint.mint("r", email="first@example.org", device=EnrolledDevice("phone", '{"kty":"EC"}', "t" * 43))
    await mint.mint("r", email="second@example.org", device=EnrolledDevice("thief", '{"kty":"EC"}', "u" * 43))
    assert await mint.value("SELECT string_agg(email, ',') FROM contacts") == "first@example.org"
    assert await mint.value("SELECT string_agg(device_id, ',') FROM devices") == "phone"


async def enter_pending(mint: Mint, receipt: str) -> None:
    """Leave a receipt like a process that died after step 1."""
    entered = order(receipt)
    await mint.database.execute(
        "INSERT INTO receipt_ledger (receipt_key, state, drop_id, user_id, kind) "
        "VALUES ($1, 'PENDING', $2, 'buyer', 'opaque')",
        entered.receipt.key,
        mint.drop.id,
    )
