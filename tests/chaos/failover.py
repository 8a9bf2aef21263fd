"""Failover under load: Postgres' synchronous standby is promoted, a master of the Valkey cluster is lost."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.campaign import campaign_stack
from tests.chaos.cluster import proxied
from tests.chaos.faults import FAULTS, Inflict, Scene
from tests.chaos.run import DrawFaults, RunResult, run_once
from tests.chaos.schedule import PlannedFault
from tests.chaos.standby import standby
from tests.chaos.valkey_cluster import valkey_cluster

AT_S = 2.0
POSTGRES = "postgres_fails_over"
VALKEY = "valkey_master_lost"


@contextmanager
def _only_here(kind: str, inflict: Inflict) -> Iterator[None]:
    """A fault that needs servers which a campaign does not have."""
    FAULTS[kind] = inflict
    try:
        yield
    finally:
        del FAULTS[kind]


def postgres_fails_over(seed: int, capacity_limit: int) -> RunResult:
    """The primary is killed for good in the middle of a sale."""

    async def run() -> RunResult:
        with tempfile.TemporaryDirectory(prefix="vyris-s-") as folder:
            async with proxied(stack) as cluster, standby(cluster, Path(folder)) as second:

                async def take_over(_: Scene) -> None:
                    await second.take_over()

                with _only_here(POSTGRES, take_over):
                    result, _ = await run_once(
                        cluster, seed, capacity_limit=capacity_limit, draw_faults=_once(POSTGRES)
                    )
                return result

    with campaign_stack() as stack:
        return asyncio.run(run())


def valkey_master_lost(seed: int, capacity_limit: int) -> RunResult:
    """The master that holds the drop's count is killed; its replica takes over."""

    async def run() -> RunResult:
        with tempfile.TemporaryDirectory(prefix="vyris-v-") as folder:
            async with valkey_cluster(Path(folder)) as servers:
                environment = {"REDIS_URL": servers.url, "REDIS_CLUSTER": "true"}
                async with proxied(stack, environment=environment) as cluster:
                    cluster.redis_cluster_url = servers.url

                    async def lose(scene: Scene) -> None:
                        await servers.kill_master_of(scene.count_key)
                        await asyncio.sleep(3.0)

                    with _only_here(VALKEY, lose):
                        result, _ = await run_once(
                            cluster, seed, capacity_limit=capacity_limit, draw_faults=_once(VALKEY)
                        )
                    return result

    with campaign_stack() as stack:
        return asyncio.run(run())


def _once(kind: str) -> DrawFaults:
    def draw(_: int, rng: random.Random) -> list[PlannedFault]:
        return [PlannedFault(kind, AT_S + rng.random(), 1.0)]

    return draw
