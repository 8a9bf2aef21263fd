"""Redis loses or falsifies its data or does not run, processes die between commit and answer: holds stay exact."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import redis.asyncio as redis

from services.mint.bouncer import count_key
from stack.local import Stack
from tests.acceptance.holds.conftest import MakeDrop
from tests.acceptance.holds.doors import Answer, Ask, grpc_door, json_door
from tests.hold_trials.supply_sum import sum_watched
from tests.hold_trials.trials import YEAR, Night, all_of, check_takers, insist, open_night

NUMBERS, PEOPLE = 60, 240


@pytest.fixture
async def both_doors(stack: Stack) -> AsyncIterator[Ask]:
    """Sends over JSON and gRPC in turn."""
    async with json_door(stack.gateway_url) as json_ask, grpc_door(stack.gateway_grpc_target) as grpc_ask:
        doors = itertools.cycle((json_ask, grpc_ask))

        async def ask(rpc: str, **fields: Any) -> Answer:
            return await next(doors)(rpc, **fields)

        yield ask


async def forget(client: redis.Redis, night: Night) -> None:
    await client.flushall()


async def lie(client: redis.Redis, night: Night) -> None:
    for lie in (1_000_000, -7, "many"):
        await client.set(count_key(night.tier, YEAR, "production"), lie)
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("fault", [forget, lie])
async def test_a_wrong_redis_neither_doubles_nor_loses_a_number(
    stack: Stack, both_doors: Ask, database: asyncpg.Connection, fault: Any
) -> None:
    night = await open_night(both_doors, stack.database_url, database, f"redis-{fault.__name__}", NUMBERS, grace_s=60)
    async with redis.from_url(stack.redis_url) as client, sum_watched(stack.database_url, night.drop_id):
        is_over = asyncio.Event()

        async def again_and_again() -> None:
            while not is_over.is_set():
                await fault(client, night)
                await asyncio.sleep(0.02)

        faults = asyncio.create_task(again_and_again())
        takers = await all_of([f"user-{n}" for n in range(PEOPLE)], night.take, callers=32)
        holders = [row["user_id"] for row in await database.fetch(HOLDERS, night.drop_id)]
        paid = await all_of(holders, night.pay, callers=32)
        is_over.set()
        await faults
    check_takers(takers, NUMBERS)
    assert [answer.status for answer in paid] == [201] * NUMBERS
    assert len({answer.body["membership"]["sequence_num"] for answer in paid}) == NUMBERS


async def test_holds_and_mints_work_without_redis(stack: Stack, both_doors: Ask, database: asyncpg.Connection) -> None:
    night = await open_night(both_doors, stack.database_url, database, "redis-away", NUMBERS, grace_s=60)
    await asyncio.to_thread(stack.stop_process, "valkey")
    try:
        async with sum_watched(stack.database_url, night.drop_id):
            takers = await all_of([f"user-{n}" for n in range(PEOPLE)], night.take, callers=32)
            holders = [row["user_id"] for row in await database.fetch(HOLDERS, night.drop_id)]
            paid = await all_of(holders, night.pay, callers=32)
    finally:
        await asyncio.to_thread(stack.start_process, "valkey")
    check_takers(takers, NUMBERS)
    assert [answer.status for answer in paid] == [201] * NUMBERS


HOLDERS = "SELECT user_id FROM holds WHERE drop_id = $1 AND state = 'HELD'"


async def test_a_retry_gets_the_hold_that_a_dead_process_committed(
    stack: Stack, make_drop: MakeDrop, database: asyncpg.Connection
) -> None:
    drop = await make_drop(5_000)
    faults = stack.state.run / "failpoints-hold.json"
    await asyncio.to_thread(stack.restart, "mint-2", environment={"FAILPOINTS_FILE": str(faults)})
    for name, door in (("json", json_door(stack.gateway_url)), ("grpc", grpc_door(stack.gateway_grpc_target))):
        stack.state.write_private(faults, json.dumps({"hold.committed": {"action": "kill"}}))
        try:
            async with door as ask, asyncio.timeout(30):
                for number in itertools.count():  # until one call reaches the process that dies
                    user = f"{name}-{number}"
                    unheard = await ask("TakeHold", **drop, user_id=user)
                    if unheard.status != 201:
                        break
                    await asyncio.sleep(0.01)
                faults.unlink()
                assert unheard.error == "RETRYABLE", unheard
                committed = await database.fetchval(
                    "SELECT h.id FROM holds h JOIN drops d ON d.id = drop_id WHERE tier = $1 AND user_id = $2",
                    drop["tier"],
                    user,
                )
                retried = await insist(ask, "TakeHold", **drop, user_id=user)
        finally:
            faults.unlink(missing_ok=True)
        assert (retried.status, retried.body["replayed"]) == (201, True)
        assert retried.body["hold"]["id"] == str(committed)
        await asyncio.to_thread(stack.wait_ready, ["mint-2"])
