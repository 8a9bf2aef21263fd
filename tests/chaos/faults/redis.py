"""A Redis that answers wrongly: with false counts, empty, read-only, or with other values."""

from __future__ import annotations

import asyncio
import contextlib

from redis.exceptions import RedisError

from tests.chaos.faults.scene import Scene, fault


async def _redis(scene: Scene, *command: object) -> None:
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        async with scene.cluster.direct_redis() as client:
            await client.execute_command(*command)


async def _lie(scene: Scene, value: object) -> None:
    for _ in range(8):
        await _redis(scene, "SET", scene.count_key, value)
        await asyncio.sleep(scene.hold_s / 8)


@fault
async def redis_flushed(scene: Scene) -> None:
    for _ in range(4):
        await _redis(scene, "FLUSHALL")
        await asyncio.sleep(scene.hold_s / 4)


@fault
async def redis_read_only(scene: Scene) -> None:
    await _redis(scene, "REPLICAOF", "127.0.0.1", "1")
    try:
        await scene.hold()
    finally:
        for _ in range(20):
            await _redis(scene, "REPLICAOF", "NO", "ONE")
            await asyncio.sleep(0.05)


@fault
async def redis_says_too_many(scene: Scene) -> None:
    await _lie(scene, 1_000_000)


@fault
async def redis_says_none(scene: Scene) -> None:
    await _lie(scene, scene.rng.choice((0, -7)))


@fault
async def redis_says_garbage(scene: Scene) -> None:
    await _lie(scene, scene.rng.choice(("many", "1e400", "12.5", "", "9223372036854775807")))


@fault
async def redis_holds_another_type(scene: Scene) -> None:
    for _ in range(8):
        await _redis(scene, "DEL", scene.count_key)
        await _redis(scene, "LPUSH", scene.count_key, "1")
        await asyncio.sleep(scene.hold_s / 8)
