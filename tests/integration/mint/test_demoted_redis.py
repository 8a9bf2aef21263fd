"""A Redis that became a replica and keeps its connections open is left for the one that its name means now."""

from __future__ import annotations

import pytest
import redis.asyncio as redis

from services.mint.bouncer import Bouncer, BouncerSettings, redis_client

KEY = "{drop:genesis:2025}"


@pytest.mark.parametrize("serves_stale_data", ["yes", "no"])
async def test_a_demoted_redis_loses_its_connection(redis_url: str, serves_stale_data: str) -> None:
    settings = BouncerSettings(redis_url=redis_url, redis_pause_ms=10)
    client = redis_client(settings)
    assert isinstance(client, redis.Redis)
    bouncer = Bouncer(client, settings)
    async with redis.from_url(redis_url) as other:
        await other.set(KEY, 5)
        assert await bouncer.take(KEY, 1) == 1
        old_connection = await client.client_id()
        await other.config_set("replica-serve-stale-data", serves_stale_data)
        await other.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            assert await bouncer.take(KEY, 1) is None
            assert await client.client_id() != old_connection
        finally:
            await other.execute_command("REPLICAOF", "NO", "ONE")
            await other.config_set("replica-serve-stale-data", "yes")
            await bouncer.close()
