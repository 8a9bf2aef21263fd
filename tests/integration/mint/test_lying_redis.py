"""With any value in Redis, minting goes on and the recount puts the count right."""

from __future__ import annotations

import asyncio

import pytest
import redis.asyncio as redis

from tests.stand_ins.mint_engine import MintMaker

LIES = [b"many", b"", b"1e400", b"12.5", b"-7", b"0", b"9223372036854775807", b"99999999999999999999"]


async def wait_until_corrected(client: redis.Redis, key: str, expected: bytes) -> None:
    async with asyncio.timeout(5):
        while await client.type(key) != b"string" or await client.get(key) != expected:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("lie", LIES)
async def test_a_wrong_count_is_put_right_every_time(make_mint: MintMaker, redis_url: str, lie: bytes) -> None:
    mint = await make_mint(5, recount_interval_ms=50, redis_pause_ms=10)
    async with redis.from_url(redis_url) as client:
        for number in range(3):
            await client.set(mint.count_key, lie)
            assert (await mint.mint(f"receipt-{number}"))[0].sequence_num
            await wait_until_corrected(client, mint.count_key, b"%d" % (4 - number))


async def test_a_key_of_another_type_is_put_right(make_mint: MintMaker, redis_url: str) -> None:
    mint = await make_mint(5, recount_interval_ms=50, redis_pause_ms=10)
    async with redis.from_url(redis_url) as client:
        for number in range(2):
            async with client.pipeline(transaction=True) as at_once:  # a recount between the two would write a number
                await at_once.delete(mint.count_key).lpush(mint.count_key, "1").execute()
            assert (await mint.mint(f"receipt-{number}"))[0].sequence_num
            await wait_until_corrected(client, mint.count_key, b"%d" % (4 - number))


async def test_the_operators_view_survives_garbage_in_redis(make_mint: MintMaker, redis_url: str) -> None:
    mint = await make_mint(5)
    async with redis.from_url(redis_url) as client:
        await client.set("{drop:of-nobody:2030}", "many")  # no recount may correct it during the test
    assert await mint.bouncer.read("{drop:of-nobody:2030}") is None
