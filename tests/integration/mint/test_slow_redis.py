"""A Redis that hangs costs its time limit, and no call gets the answer of another."""

from __future__ import annotations

import asyncio
import time

import redis.asyncio as redis

from services.mint.bouncer import Bouncer, BouncerSettings, redis_client

LIMIT_MS, HANGS_MS = 60, 600
KEY = "{drop:genesis:2025}"


async def test_a_late_answer_of_redis_is_given_to_nobody(redis_url: str) -> None:
    settings = BouncerSettings(redis_url=redis_url, redis_timeout_ms=LIMIT_MS, redis_pause_ms=10)
    bouncer = Bouncer(redis_client(settings), settings)
    try:
        async with redis.from_url(redis_url) as client:
            await client.set(KEY, 5)
            assert await bouncer.take(KEY, 1) == 1
            await client.client_pause(HANGS_MS)
            asked_at_s = time.monotonic()
            assert await bouncer.take(KEY, 3) is None
            assert time.monotonic() - asked_at_s < HANGS_MS / 2_000
            left = await client.get(KEY)  # once Redis answers again: with or without the requests sent meanwhile
            assert left in {b"4", b"1"}
            assert await bouncer.read(KEY) == int(left)
    finally:
        await bouncer.close()


async def test_the_close_waits_for_the_calls_that_run_and_later_ones_open_nothing(redis_url: str) -> None:
    settings = BouncerSettings(redis_url=redis_url, redis_timeout_ms=2_000)
    client = redis_client(settings)
    bouncer = Bouncer(client, settings)
    async with redis.from_url(redis_url) as other:
        await other.set(KEY, 5)
        running = [asyncio.create_task(bouncer.take(KEY, 1)) for _ in range(3)]
        await asyncio.sleep(0)
        await bouncer.close()
        assert sorted(await asyncio.gather(*running)) == [1, 1, 1]
        assert await bouncer.take(KEY, 1) is None
        assert await other.get(KEY) == b"2"
    assert isinstance(client, redis.Redis)
    assert client.connection is None
