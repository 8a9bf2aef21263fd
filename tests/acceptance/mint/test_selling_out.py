"""A drop sells exactly its capacity under load and under faults."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import asyncpg
import pytest
import redis.asyncio as redis

from stack.local import Stack
from tests.acceptance.mint.buyers import Answer, Send, buy_all, json_sender
from tests.acceptance.mint.conftest import MakeDrop
from tests.error_body import KEYS

CAPACITY = 500
DEMAND = 3_000


def requests(drop: dict[str, str], count: int) -> list[dict[str, str]]:
    return [{"receipt_data": f"{drop['year']}-receipt-{n}", "user_id": f"user-{n}", **drop} for n in range(count)]


async def check_books(
    database: asyncpg.Connection, drop: dict[str, str], answers: list[Answer], capacity: int = CAPACITY
) -> None:
    """Check that answers, ledger, memberships and slots agree."""
    sold = [answer for answer in answers if answer.status == 201]
    refused = [answer for answer in answers if answer.status == 410]
    assert len(sold) == capacity
    assert len(refused) == len(answers) - capacity
    assert {answer.error for answer in refused} == {"SOLD_OUT"}
    numbers = [answer.membership["sequence_num"] for answer in sold]
    assert sorted(numbers) == list(range(1, capacity + 1))
    assert numbers != sorted(numbers)
    row = await database.fetchrow(
        """
        SELECT (SELECT count(*) FROM receipt_ledger l WHERE l.drop_id = d.id) AS receipts,
               (SELECT count(*) FROM receipt_ledger l WHERE l.drop_id = d.id AND state = 'FULFILLED') AS fulfilled,
               (SELECT count(*) FROM receipt_ledger l WHERE l.drop_id = d.id AND reason = 'SOLD_OUT') AS sold_out,
               (SELECT count(*) FROM memberships m WHERE m.drop_id = d.id) AS memberships,
               (SELECT count(*) FROM slots s WHERE s.drop_id = d.id) AS slots
        FROM drops d WHERE tier = $1 AND year = $2
        """,
        drop["tier"],
        drop["year"],
    )
    assert dict(row) == {
        "receipts": len(answers),
        "fulfilled": capacity,
        "sold_out": len(refused),
        "memberships": capacity,
        "slots": 0,
    }


async def sell_out(
    send: Send, drop: dict[str, str], meanwhile: Callable[[], Awaitable[None]] | None = None
) -> list[Answer]:
    trouble = asyncio.create_task(meanwhile()) if meanwhile else None
    answers = await buy_all(send, requests(drop, DEMAND), at_once=128, patience_s=150)
    if trouble:
        await trouble
    return answers


async def test_3000_receipts_mint_exactly_500_memberships(
    sender: AbstractAsyncContextManager[Send], make_drop: MakeDrop, database: asyncpg.Connection
) -> None:
    drop = await make_drop(CAPACITY)
    async with sender as send:
        answers = await sell_out(send, drop)
        await check_books(database, drop, answers)
        # Nobody is refused while a slot is unclaimed. Answers of the last batch may overtake each other on the network.
        first_refusal = min(answer.at_s for answer in answers if answer.status == 410)
        last_sale = max(answer.at_s for answer in answers if answer.status == 201)
        assert last_sale - first_refusal < 1.0
        sold = [(request, answer) for request, answer in zip(requests(drop, DEMAND), answers, strict=True)
                if answer.status == 201]  # fmt: skip
        again = await buy_all(send, [request for request, _ in sold], at_once=64)
        for (_, first), replay in zip(sold, again, strict=True):
            assert (replay.status, replay.membership, replay.body["replayed"]) == (201, first.membership, True)


@pytest.mark.parametrize("fault", ["flushall", "restarted empty"])
async def test_losing_the_data_of_redis_changes_nothing(
    stack: Stack, make_drop: MakeDrop, database: asyncpg.Connection, fault: str
) -> None:
    drop = await make_drop(CAPACITY)

    async def lose_memory() -> None:
        for _ in range(3):
            await asyncio.sleep(0.3)
            if fault == "flushall":
                async with redis.from_url(stack.redis_url) as client:
                    await client.flushall()
            else:
                await asyncio.to_thread(stack.restart, "valkey")

    async with json_sender(stack.gateway_url) as send:
        answers = await sell_out(send, drop, lose_memory)
    await check_books(database, drop, answers)


async def test_mints_are_retryable_while_postgres_is_stopped_and_succeed_after(
    stack: Stack, make_drop: MakeDrop
) -> None:
    drop = await make_drop(CAPACITY)
    refusals: list[Answer] = []

    async def stop_postgres() -> None:
        await asyncio.sleep(0.5)
        await asyncio.to_thread(stack.stop_process, "postgres")
        await asyncio.sleep(2.5)
        await asyncio.to_thread(stack.start_process, "postgres")

    async with json_sender(stack.gateway_url) as send:

        async def send_and_record(request: dict[str, str]) -> Answer:
            answer = await send(request)
            if answer.error == "RETRYABLE":
                refusals.append(answer)
            return answer

        answers = await sell_out(send_and_record, drop, stop_postgres)
    database = await asyncpg.connect(stack.database_url)
    await check_books(database, drop, answers)
    await database.close()
    assert refusals
    assert all(answer.body.keys() == KEYS for answer in refusals)
    assert {answer.status for answer in refusals} <= {500, 503, 504}
    await asyncio.to_thread(stack.wait_ready)


async def test_mint_killed_under_load_loses_nothing(
    stack: Stack, make_drop: MakeDrop, database: asyncpg.Connection
) -> None:
    drop = await make_drop(CAPACITY)

    async def kill() -> None:
        await asyncio.sleep(0.5)
        for process in ("mint", "mint-2"):
            stack.kill(process, signal.SIGKILL)
        await asyncio.to_thread(stack.wait_ready, ["mint", "mint-2"])

    async with json_sender(stack.gateway_url) as send:
        answers = await sell_out(send, drop, kill)
    await check_books(database, drop, answers)
