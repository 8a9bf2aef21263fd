"""The suite under test: real processes of the local stack, with a faulty proxy in every important link."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import redis.asyncio as redis

from stack.local import Stack
from stack.ports import PortTaker
from stack.postgres import PORT as POSTGRES_PORT
from tests.chaos.proxy import Proxy

MINTS: Final = ("mint", "mint-2")
STARTING_LIMIT_S: Final = 60.0
REPOSITORY: Final = Path(__file__).parents[2]

# Shorter time limits and intervals of the services, most of them a quarter to a tenth of the defaults.
QUICK_TIMERS: Final[Mapping[str, str]] = {
    "POSTGRES_CONNECT_TIMEOUT_MS": "500",
    "POSTGRES_LOCK_TIMEOUT_MS": "200",
    "POSTGRES_STATEMENT_TIMEOUT_MS": "500",
    "POSTGRES_CALL_TIMEOUT_MS": "900",
    "REDIS_TIMEOUT_MS": "100",
    "REDIS_PAUSE_MS": "200",
    "RECOUNT_INTERVAL_MS": "300",
    "REAPER_GRACE_MS": "2500",
    "REAPER_INTERVAL_MS": "500",
    "CALL_LIMIT_MS": "2000",
    "GATEWAY_REQUEST_TIMEOUT_S": "3",
    "HOLD_GRACE_S": "0.3",
    "HOLD_LAPSE_INTERVAL_MS": "100",
    "MAIL_TIMEOUT_MS": "2000",
    "MAIL_LEASE_MS": "6000",
    "DRAIN_DELAY_MS": "50",
    "DRAIN_LIMIT_MS": "500",
}


def isolated_stack(state_dir: Path) -> Stack:
    """A stack for campaigns: two mint processes, timers divided."""
    return Stack.isolated(state_dir, replicas={"mint": len(MINTS)}, environment=QUICK_TIMERS)


class Cluster:
    """A started stack, its proxies by name, and connections past them for observers."""

    def __init__(self, stack: Stack, proxies: dict[str, Proxy]) -> None:
        self.stack = stack
        self.proxies = proxies
        # The current servers: another one after a failover, or a cluster.
        self.database_url = stack.database_url
        self.redis_cluster_url = ""
        # Only one fault at a time stops and starts processes, because faults may need each other's.
        self.supervising = asyncio.Lock()

    @asynccontextmanager
    async def direct(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """A connection to Postgres that no proxy disturbs, in a database session of its own."""
        connection = await asyncpg.connect(self.database_url, timeout=5, command_timeout=20)
        try:
            yield connection
        finally:
            connection.terminate()

    @asynccontextmanager
    async def direct_redis(self) -> AsyncIterator[redis.Redis | redis.RedisCluster]:
        """Redis, past the proxies."""
        if self.redis_cluster_url:
            async with redis.RedisCluster.from_url(self.redis_cluster_url, socket_timeout=3) as cluster:
                yield cluster
            return
        async with redis.from_url(self.stack.redis_url, socket_timeout=3, socket_connect_timeout=3) as client:
            yield client

    def failpoints_file(self, mint: str) -> Path:
        """The file that switches failpoints of a mint process."""
        return self.stack.state.run / f"failpoints-{mint}.json"

    def set_failpoints(self, mint: str, faults: Mapping[str, Mapping[str, Any]]) -> None:
        """Switch on exactly these faults, by the name of their point."""
        self.stack.state.write_private(self.failpoints_file(mint), json.dumps(faults))

    async def heal_everything(self) -> None:
        """Remove what faults left behind, and wait until each process that died is started again and listens.

        How long a process takes to start depends on the machine: on a busy one Python's imports last seconds.
        """
        for proxy in self.proxies.values():
            proxy.heal()
        for mint in MINTS:
            self.set_failpoints(mint, {})
        async with asyncio.timeout(STARTING_LIMIT_S):
            for proxy in self.proxies.values():
                while not await _listens(proxy.target):
                    await asyncio.sleep(0.05)


async def _listens(target: tuple[str, int] | Path) -> bool:
    try:
        if isinstance(target, Path):
            _, writer = await asyncio.open_unix_connection(str(target))
        else:
            _, writer = await asyncio.open_connection(*target)
    except OSError:
        return False
    writer.transport.abort()
    return True


@asynccontextmanager
async def proxied(
    stack: Stack,
    mint_argv: Mapping[str, Iterable[str]] | None = None,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Cluster]:
    """Put proxies between the processes of a started stack.

    `mint_argv` runs something else as a mint process, `environment` changes the mint processes' settings.
    """
    ports = PortTaker(set())
    sockets = stack.state.sockets
    async with AsyncExitStack() as exits:
        proxies: dict[str, Proxy] = {}

        async def stand_between(name: str, target: tuple[str, int] | Path, port: int = 0) -> Proxy:
            proxy = Proxy(name, target)
            proxy.port = port
            proxies[name] = await exits.enter_async_context(proxy)
            return proxy

        cluster = Cluster(stack, proxies)
        await stand_between("client-gateway", ("127.0.0.1", stack.settings.gateway_port))
        await stand_between("client-gateway-grpc", ("127.0.0.1", stack.settings.gateway_grpc_port))
        for mint in MINTS:
            postgres = await stand_between(f"{mint}-postgres", sockets / f".s.PGSQL.{POSTGRES_PORT}")
            valkey = await stand_between(f"{mint}-redis", sockets / "valkey.sock")
            await asyncio.to_thread(stack.stop_process, mint)
            # The proxy takes the port that the gateway knows; the process moves to another.
            moved_to = ports.free_port()
            await stand_between(f"gateway-{mint}", ("127.0.0.1", moved_to), int(stack.listens[mint]))
            cluster.set_failpoints(mint, {})
            settings = {
                "DATABASE_URL": f"postgresql://vyris@127.0.0.1:{postgres.port}/vyris?sslmode=disable",
                "REDIS_URL": f"redis://127.0.0.1:{valkey.port}/0",
                "MINT_PORT": str(moved_to),
                "FAILPOINTS_FILE": str(cluster.failpoints_file(mint)),
                "PYTHONPATH": str(REPOSITORY),
                **(environment or {}),
            }
            argv = list((mint_argv or {}).get(mint, ()))
            await asyncio.to_thread(
                stack.start_process, mint, environment=settings, argv=[sys.executable, *argv] if argv else None
            )
        yield cluster
