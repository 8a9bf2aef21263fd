"""Automatic repairs: the recount and the reaper."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from services.data.storage.database import Database
from services.data.storage.locks import LockClass
from services.mint.reaper import Reaper
from services.mint.recount import Recounter
from services.mint.settings import MintSettings
from services.server.runtime.background import Loop, running
from tests.stand_ins.mint_engine import Mint, MintMaker, eventually, order


async def insert_pending(mint: Mint, receipt: str, age_s: int) -> None:
    await mint.database.execute(
        "INSERT INTO receipt_ledger (receipt_key, state, drop_id, user_id, kind, created_at, updated_at) "
        "SELECT $1, 'PENDING', $2, 'buyer', 'opaque', moment, moment "
        "FROM (SELECT now() - make_interval(secs => $3)) AS m (moment)",
        order(receipt).receipt.key,
        mint.drop.id,
        float(age_s),
    )


@pytest.fixture
async def other_database(database_url: str, redis_url: str) -> AsyncIterator[Database]:
    settings = MintSettings(_env_file=None, database_url=database_url, redis_url=redis_url)
    async with Database.open(settings, "test-other") as database:
        yield database


async def test_a_wrong_or_missing_count_is_put_right_by_the_interval(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=7, recount_interval_ms=50)
    for wrong in (0, 99, -3):
        await mint.bouncer.write(mint.count_key, wrong)

        async def right() -> bool:
            return await mint.bouncer.read(mint.count_key) == 7

        await eventually(right)
    await mint.bouncer._client.flushall()
    await eventually(right)


async def test_slots_taken_by_a_process_that_died_are_for_sale_again(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=3)
    await mint.bouncer.write(mint.count_key, 3)
    assert await mint.bouncer.take(mint.count_key, 3) == 3
    for n in range(3):
        await mint.mint(f"r{n}")
    assert await mint.slots() == 0


async def test_one_process_recounts_at_a_time(make_mint: MintMaker, other_database: Database) -> None:
    mint = await make_mint(capacity=7)
    await mint.bouncer.write(mint.count_key, 1)
    recounter = Recounter(other_database, mint.bouncer)

    async def while_locked(connection: object) -> asyncio.Task[None]:
        await connection.execute("SELECT pg_advisory_xact_lock($1::int, 0)", LockClass.MINT_RECOUNT)  # type: ignore[attr-defined]
        async with running([Loop("recount", run=recounter.once, every_s=0.01)]):
            by_operator = asyncio.create_task(recounter.rebuild())
            await asyncio.sleep(0.3)
        assert await mint.bouncer.read(mint.count_key) == 1
        assert not by_operator.done()
        return by_operator

    await (await mint.database.in_transaction(while_locked))
    assert await mint.bouncer.read(mint.count_key) == 7


async def test_an_abandoned_receipt_gets_a_reason_after_the_grace_and_can_still_mint(make_mint: MintMaker) -> None:
    mint = await make_mint()
    await insert_pending(mint, "old", age_s=120)
    await insert_pending(mint, "fresh", age_s=1)
    reaper = Reaper(mint.database, grace_s=60)

    async def is_reaped() -> bool:
        return await mint.ledger() == {"FAILED ABANDONED": 1, "PENDING": 1}

    async with running([Loop("reaper", run=reaper.once, every_s=0.02)]):
        await eventually(is_reaped)
    assert (await mint.mint("old"))[1] is False
    assert await mint.ledger() == {"FULFILLED": 1, "PENDING": 1}


async def test_two_reapers_at_once_reap_each_receipt_once(make_mint: MintMaker, other_database: Database) -> None:
    mint = await make_mint()
    for n in range(20):
        await insert_pending(mint, f"r{n}", age_s=120)
    reapers = [Reaper(database, grace_s=60) for database in (mint.database, other_database)]
    looks = await asyncio.gather(*(r._database.in_transaction(r._reap) for r in reapers))
    assert sorted(look.reaped for look in looks) == [0, 20]
    assert await mint.ledger() == {"FAILED ABANDONED": 20}


async def test_a_reaper_reads_again_only_what_may_still_be_pending(make_mint: MintMaker) -> None:
    mint = await make_mint()
    await insert_pending(mint, "old", age_s=7_200)
    reaper = Reaper(mint.database, grace_s=60)
    assert not await reaper.once()
    await insert_pending(mint, "late", age_s=100)  # visible soon after the reaper has looked for it
    await insert_pending(mint, "unheard of", age_s=3_600)
    assert not await reaper.once()
    assert await mint.ledger() == {"FAILED ABANDONED": 2, "PENDING": 1}
    reaper._look_again_at_s = 0.0
    assert not await reaper.once()
    assert await mint.ledger() == {"FAILED ABANDONED": 3}


async def test_receipts_left_pending_for_a_month_are_reaped(make_mint: MintMaker, other_database: Database) -> None:
    mint = await make_mint()
    month_s = 30 * 86_400
    await other_database.execute("UPDATE drops SET created_at = now() - interval '60 days'")
    await insert_pending(mint, "a month ago", age_s=month_s)
    await insert_pending(mint, "three weeks ago", age_s=21 * 86_400)
    await insert_pending(mint, "today", age_s=3_600)
    reaper = Reaper(mint.database, grace_s=60)
    rounds = 1
    while await reaper.once():
        rounds += 1
    assert await mint.ledger() == {"FAILED ABANDONED": 3}
    assert rounds < 12, "a stretch at a time"
    # Later rounds read short ranges again.
    await insert_pending(mint, "from another time", age_s=month_s)
    reaper._look_again_at_s = 0.0
    assert not await reaper.once()
    assert await mint.ledger() == {"FAILED ABANDONED": 3, "PENDING": 1}


async def test_a_receipt_that_is_still_pending_is_read_again(make_mint: MintMaker, other_database: Database) -> None:
    mint = await make_mint()
    await insert_pending(mint, "held", age_s=7_200)
    reaper = Reaper(mint.database, grace_s=60)

    async def while_locked(connection: object) -> None:
        await connection.execute("SELECT FROM receipt_ledger FOR UPDATE")  # type: ignore[attr-defined]
        assert not await reaper.once()

    await other_database.in_transaction(while_locked)
    assert await mint.ledger() == {"PENDING": 1}
    assert not await reaper.once()
    assert await mint.ledger() == {"FAILED ABANDONED": 1}


async def test_a_week_too_large_for_one_statement_is_read_in_parts(make_mint: MintMaker) -> None:
    mint = await make_mint()
    for hours in (160, 90, 30, 1):
        await insert_pending(mint, f"{hours} h", age_s=hours * 3_600)
    reaper = Reaper(mint.database, grace_s=60)
    reaper._stretch = timedelta(hours=20)
    rounds = 1
    while await reaper.once():
        rounds += 1
    assert 3 <= rounds <= 5  # after a range that was read in time comes one twice as long
    assert await mint.ledger() == {"FAILED ABANDONED": 4}
