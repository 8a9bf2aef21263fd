"""One statement enters receipts and claims, and the bouncer is asked in parallel: failures in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest
from asyncpg.transaction import Transaction

from services.mint.revocation import restore, revoke
from tests.stand_ins.mint_engine import Mint, MintMaker, eventually, order
from vyris.errors import InvalidReceipt, Retryable


@asynccontextmanager
async def enter_elsewhere(database_url: str, mint: Mint, receipt: str, state: str) -> AsyncIterator[Transaction]:
    """A transaction of another process that has entered a receipt and is not committed."""
    connection = await asyncpg.connect(database_url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "INSERT INTO receipt_ledger (receipt_key, state, drop_id, user_id, kind) "
            "VALUES ($1, $2::text::receipt_state, $3, 'buyer', 'opaque')",
            order(receipt).receipt.key,
            state,
            mint.drop.id,
        )
        yield transaction
    finally:
        await connection.close()


@pytest.mark.parametrize("ends", ["commit", "rollback"])
async def test_the_slot_of_a_receipt_that_another_process_enters_meanwhile_stays(
    make_mint: MintMaker, database_url: str, ends: str
) -> None:
    mint = await make_mint(capacity=5)
    async with enter_elsewhere(database_url, mint, "r1", "REFUNDED") as transaction:
        minting = asyncio.gather(*(mint.mint(f"r{n}") for n in range(3)), return_exceptions=True)
        await asyncio.sleep(0.3)
        assert not minting.done()  # all three claim in one statement, which waits for the other's receipt
        await getattr(transaction, ends)()
    answers = await minting
    refunded = ends == "commit"
    assert [isinstance(answer, tuple) for answer in answers] == [True, not refunded, True]
    assert await mint.slots() == (3 if refunded else 2)
    assert await mint.ledger() == ({"FULFILLED": 2, "REFUNDED": 1} if refunded else {"FULFILLED": 3})
    assert await mint.bouncer.read(mint.count_key) == await mint.slots()


async def test_a_number_that_a_failed_claim_locked_goes_to_the_reversed_refund(
    make_mint: MintMaker, database_url: str
) -> None:
    mint = await make_mint(capacity=1)
    minted, _ = await mint.mint("r")
    membership = UUID(minted.id)
    await mint.database.in_transaction(
        lambda connection: revoke(connection, membership, reason="refund", actor="test", frees_number=True)
    )
    process = await make_mint(drop=mint.drop)
    async with enter_elsewhere(database_url, mint, "other", "REFUNDED") as transaction:
        minting = asyncio.create_task(process.mint("other"))
        await asyncio.sleep(0.2)
        restoring = asyncio.create_task(
            mint.database.in_transaction(
                lambda connection: restore(connection, membership, reason="reversed", actor="test")
            )
        )
        await asyncio.sleep(0.2)
        assert not restoring.done()
        await transaction.commit()
    assert await restoring
    with pytest.raises(InvalidReceipt):
        await minting
    assert await mint.slots() == 0


async def test_receipts_are_in_the_ledger_even_where_the_claim_fails(make_mint: MintMaker, database_url: str) -> None:
    mint = await make_mint(capacity=5)
    minted, _ = await mint.mint("before")
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("ALTER TABLE contacts RENAME TO elsewhere")
        for _ in range(2):  # one receipt minted by one statement, and the next one
            *failed, replayed = await asyncio.gather(
                *(mint.mint(receipt) for receipt in ("r0", "r1", "r2", "before")), return_exceptions=True
            )
            assert all(isinstance(answer, Retryable) for answer in failed)
            assert replayed == (minted, True)
        await connection.execute("ALTER TABLE elsewhere RENAME TO contacts")
    finally:
        await connection.close()
    assert await mint.ledger() == {"FULFILLED": 1, "PENDING": 3}
    assert await mint.bouncer.read(mint.count_key) == await mint.slots() == 4


async def test_slots_that_were_asked_for_replays_go_back(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=10)

    async def all_back() -> bool:
        return await mint.bouncer.read(mint.count_key) == 7

    for _ in range(3):  # the second asks for slots without need, and the third does not ask
        await asyncio.gather(*(mint.mint(f"r{n}") for n in range(3)))
        await eventually(all_back)


@asynccontextmanager
async def ledger_locked(database_url: str) -> AsyncIterator[None]:
    """The statement has to wait for the ledger."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE receipt_ledger IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def test_redis_is_asked_beside_the_claim_and_what_is_unused_goes_back(
    make_mint: MintMaker, database_url: str
) -> None:
    mint = await make_mint(capacity=5)

    async def count_is(expected: int) -> None:
        async def is_reached() -> bool:
            return await mint.bouncer.read(mint.count_key) == expected

        await eventually(is_reached)

    async with ledger_locked(database_url):
        minting = asyncio.create_task(mint.mint("r"))
        await count_is(4)
        assert not minting.done()
    await minting
    await count_is(4)
    async with ledger_locked(database_url):
        ended = asyncio.create_task(mint.mint("of a process that stops"))
        await count_is(3)
        await mint.engine.close()
    with pytest.raises(Retryable):
        await ended
    await count_is(4)
