"""Record a run's history while it happens."""

from __future__ import annotations

import asyncio
import contextlib
import time

import asyncpg
import redis.asyncio as redis
from redis.exceptions import RedisError

from services.data.storage.connections import CONNECTION_FAILURES
from services.mint.bouncer import count_key
from services.mint.drops import Drop
from tests.chaos.cluster import Cluster
from tests.chaos.history import History, Sample

SAMPLE_EVERY_S = 0.1
SAMPLE = """
SELECT (SELECT count(*) FROM slots WHERE drop_id = $1) AS unclaimed,
       (SELECT sum(taken) FROM drop_tallies WHERE drop_id = $1) AS tallied,
       (SELECT sum(held) FROM drop_tallies WHERE drop_id = $1) AS tallied_held,
       (SELECT count(*) FROM holds WHERE drop_id = $1 AND state = 'HELD') AS held,
       count(*) FILTER (WHERE revoked_at IS NULL) AS live,
       count(*) FILTER (WHERE revoked_at IS NULL OR NOT number_freed) AS holding
FROM memberships WHERE drop_id = $1
"""


Redis = redis.Redis | redis.RedisCluster


class Sampler:
    """Samples the drop repeatedly, past the proxies."""

    def __init__(self, cluster: Cluster, drop: Drop, history: History) -> None:
        self._cluster = cluster
        self._drop = drop
        self._history = history
        # Not cancelled, because clients in the middle of a call may treat a cancellation as their time limit.
        self._stopping = False

    def stop(self) -> None:
        """Let `run` end after the sample it is taking."""
        self._stopping = True

    async def run(self) -> None:
        """Sample until stopped, without samples while Postgres does not answer."""
        while not self._stopping:
            with contextlib.suppress(*CONNECTION_FAILURES):
                async with self._cluster.direct() as connection, self._cluster.direct_redis() as client:
                    while not self._stopping:
                        self._history.samples.append(await self._sample(connection, client))
                        await asyncio.sleep(SAMPLE_EVERY_S)
            await asyncio.sleep(SAMPLE_EVERY_S)

    async def once(self) -> Sample:
        """Take one more sample now. Raises if Postgres does not answer."""
        async with self._cluster.direct() as connection, self._cluster.direct_redis() as client:
            sample = await self._sample(connection, client)
        self._history.samples.append(sample)
        return sample

    async def _sample(self, connection: asyncpg.Connection[asyncpg.Record], client: Redis) -> Sample:
        began_s = time.monotonic()
        row = await connection.fetchrow(SAMPLE, self._drop.id)
        ended_s = time.monotonic()
        assert row is not None
        return Sample(
            began_s=began_s,
            ended_s=ended_s,
            unclaimed=row["unclaimed"],
            live=row["live"],
            holding=row["holding"],
            tallied=row["tallied"],
            redis=await _count(client, self._drop),
            held=row["held"],
            tallied_held=row["tallied_held"],
        )


async def _count(client: Redis, drop: Drop) -> int | None:
    """Redis' count; None if it is missing or no number, or Redis does not answer."""
    try:
        value = await client.get(count_key(drop.tier, drop.year, drop.environment))
        return None if value is None else int(value)
    except (RedisError, OSError, TimeoutError, ValueError):
        return None
