"""Failover under load: Postgres' synchronous standby is promoted, a master of the Valkey cluster is lost."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.chaos.campaign import campaign_stack
from tests.chaos.cluster import MINTS, Cluster, proxied
from tests.chaos.faults import FAULTS, Inflict, Scene
from tests.chaos.proxy import Proxy
from tests.chaos.run import DrawFaults, RunResult, run_once
from tests.chaos.schedule import PlannedFault
from tests.chaos.standby import standby
from tests.chaos.valkey_cluster import valkey_cluster

AT_S = 2.0
POSTGRES = "postgres_fails_over"
SWITCH = "postgres_address_switches"
VALKEY = "valkey_master_lost"
STANDBY_ONLY_S = 3.0
READY_WITHIN_S = 5.0


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


@dataclass(slots=True)
class Switch:
    """What a switch of the address did to the services."""

    ready_after_s: dict[str, float] = field(default_factory=dict)  # since the primary answered there, by process
    ready_at_standby: list[str] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)

    def failures(self) -> list[str]:
        """What was promised and did not hold, as sentences."""
        late = [f"{name} was ready {s:.1f} s later" for name, s in self.ready_after_s.items() if s > READY_WITHIN_S]
        wrong = [f"{name} called itself ready at a standby" for name in self.ready_at_standby]
        return late + wrong + [f"{name} was started again" for name in self.restarted]


def postgres_address_switches(seed: int, capacity_limit: int) -> tuple[RunResult, Switch]:
    """The services' one address of Postgres leads to the standby in the middle of a sale; it is promoted later.

    The services meet a server that answers and refuses every write, as during the switch-over of a managed database.
    """
    switch = Switch()

    async def run() -> RunResult:
        with tempfile.TemporaryDirectory(prefix="vyris-w-") as folder:
            async with (
                proxied(stack) as cluster,
                all_at_one_address(cluster) as names,
                standby(cluster, Path(folder)) as second,
            ):

                async def switch_over(_: Scene) -> None:
                    pids = {name: stack.pid(name) for name in names}
                    second.lead_here()
                    await asyncio.sleep(STANDBY_ONLY_S)
                    ready = await asyncio.gather(*(asyncio.to_thread(_is_ready, cluster, name) for name in names))
                    switch.ready_at_standby += [name for name, is_ready in zip(names, ready, strict=True) if is_ready]
                    await second.lose_primary()
                    await second.promote()
                    promoted_s = time.monotonic()

                    async def becomes_ready(name: str) -> None:
                        while not await asyncio.to_thread(_is_ready, cluster, name):
                            await asyncio.sleep(0.1)
                        switch.ready_after_s[name] = round(time.monotonic() - promoted_s, 2)

                    await asyncio.gather(*map(becomes_ready, names))
                    switch.restarted += [name for name in names if stack.pid(name) != pids[name]]

                with _only_here(SWITCH, switch_over):
                    result, _ = await run_once(cluster, seed, capacity_limit=capacity_limit, draw_faults=_once(SWITCH))
                return result

    with campaign_stack() as stack:
        return asyncio.run(run()), switch


@asynccontextmanager
async def all_at_one_address(cluster: Cluster) -> AsyncIterator[list[str]]:
    """Let the other services reach Postgres through a proxy too; the names of all service processes."""
    stack = cluster.stack
    others = [name for name in stack.processes if name.partition("-")[0] in {"encounter", "wallet", "reforge"}]
    async with AsyncExitStack() as exits:
        for name in others:
            proxy = await exits.enter_async_context(
                Proxy(f"{name}-postgres", cluster.proxies[f"{MINTS[0]}-postgres"].target)
            )
            cluster.proxies[proxy.name] = proxy
            url = f"postgresql://vyris@127.0.0.1:{proxy.port}/vyris?sslmode=disable"
            await asyncio.to_thread(stack.restart, name, environment={"DATABASE_URL": url})
        yield [*MINTS, *others]


def _is_ready(cluster: Cluster, name: str) -> bool:
    """What the process says of its full service name, asked past the gateway."""
    gate = cluster.proxies.get(f"gateway-{name}")
    port = gate.target[1] if gate and isinstance(gate.target, tuple) else int(cluster.stack.listens[name])
    service = name.partition("-")[0]
    request = health_pb2.HealthCheckRequest(service=f"vyris.{service}.v1.{service.capitalize()}Service")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=1)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


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
