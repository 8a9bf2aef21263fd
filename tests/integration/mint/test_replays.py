"""While a drop is asked for replays alone, one read answers a whole batch, and Redis is not asked."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
import redis.asyncio as redis

from services.data.storage.failures import DatabaseUnavailable
from services.data.storage.queries import statement_name
from services.mint.cycle import MintAnswer
from services.mint.ledger import Ledger
from services.mint.statements import QUERIES
from tests.stand_ins.mint_engine import Mint, MintMaker, eventually, order
from vyris.errors import InvalidReceipt, ReceiptUsed, Retryable

RECEIPTS = ("r0", "r1", "r2")
READ = QUERIES["find_decided"]


async def mint_all(mint: Mint, *receipts: str) -> list[MintAnswer]:
    return await asyncio.gather(*(mint.mint(receipt) for receipt in receipts))


async def mint_and_replay(mint: Mint) -> list[MintAnswer]:
    """Mint three receipts and replay them: the next batch is expected to be replays."""
    minted = await mint_all(mint, *RECEIPTS)
    assert await mint_all(mint, *RECEIPTS) == [(membership, True) for membership, _ in minted]

    async def unused_went_back() -> bool:
        return await mint.bouncer.read(mint.count_key) == await mint.slots()

    await eventually(unused_went_back)
    return minted


def record_statements(mint: Mint, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the statements that the engine sends from now on."""
    sent: list[str] = []
    fetch = mint.database.fetch

    async def fetch_and_record(query: str, *args: object) -> list[asyncpg.Record]:
        sent.append(statement_name(query))
        return await fetch(query, *args)

    monkeypatch.setattr(mint.database, "fetch", fetch_and_record)
    return sent


async def test_batches_of_replays_are_answered_by_one_read_and_never_ask_redis(
    make_mint: MintMaker, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mint = await make_mint(capacity=10)
    minted = await mint_and_replay(mint)
    sent = record_statements(mint, monkeypatch)

    async def calls(client: Any) -> int:
        return int((await client.info("commandstats"))["cmdstat_evalsha"]["calls"])

    async with redis.from_url(redis_url) as client:
        before = await calls(client)
        for _ in range(3):
            assert await mint_all(mint, *RECEIPTS) == [(membership, True) for membership, _ in minted]
        assert await calls(client) == before
    assert sent == ["find_decided"] * 3


async def test_a_new_receipt_among_replays_mints_and_is_counted(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=10)
    for number in range(2):
        await mint_and_replay(mint)
        new = f"new-{number}"
        *replays, (membership, replayed) = await mint_all(mint, *RECEIPTS, new)
        assert all(was_minted_before for _, was_minted_before in replays)
        assert not replayed
        assert (await mint.mint(new)) == (membership, True)
        assert await mint.slots() == 6 - number
    assert await mint.ledger() == {"FULFILLED": 5}
    await mint_and_replay(mint)  # Redis' count is Postgres' again


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE memberships SET revoked_at = now()",
        "UPDATE receipt_ledger SET state = 'REFUND_DUE'",
        "UPDATE receipt_ledger SET state = 'REFUNDED'",
    ],
)
async def test_a_read_answers_revoked_and_refunded_receipts_as_the_statement_does(
    make_mint: MintMaker, change: str
) -> None:
    mint = await make_mint()
    await mint_and_replay(mint)
    with pytest.raises(ReceiptUsed):
        await mint.mint("r0", "thief")
    await mint.database.execute(change)
    with pytest.raises(InvalidReceipt):
        await mint.mint("r0")
    with pytest.raises(ReceiptUsed):
        await mint.mint("r0", "thief")


async def test_a_server_that_refuses_writes_answers_no_replay(make_mint: MintMaker, database_url: str) -> None:
    mint = await make_mint()
    await mint.mint("r0")
    keys = [order("r0").receipt.key]
    connection = await asyncpg.connect(database_url)
    try:
        assert len(await connection.fetch(READ, keys)) == 1
        async with connection.transaction(readonly=True):
            assert await connection.fetch(READ, keys) == []
    finally:
        await connection.close()


async def test_receipts_are_in_the_ledger_even_where_the_read_fails(
    make_mint: MintMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    mint = await make_mint()
    await mint_and_replay(mint)

    async def fail(*_: object) -> None:
        raise DatabaseUnavailable("no answer within the time limit")

    monkeypatch.setattr(Ledger, "find_decided", fail)
    with pytest.raises(Retryable):
        await mint.mint("new")
    assert await mint.ledger() == {"FULFILLED": 3, "PENDING": 1}
    assert (await mint.mint("new"))[1] is False
