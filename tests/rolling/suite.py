"""The suite as production runs it: two of each service and of the gateway on one Postgres and a Valkey cluster."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import httpx

from stack.local import Stack
from stack.ports import PortTaker
from suite import NAMES
from tests.chaos.cluster import REPOSITORY, Cluster
from tests.chaos.valkey_cluster import valkey_cluster
from tests.plain_http import NO_TLS

CAPACITY: Final = 200_000
# As in deploy/kubernetes/base: Envoy checks every second and needs three checks.
DRAIN_DELAY_MS: Final = 4_000
GATEWAY_LIMIT_S: Final = 60.0


class Gateway:
    """One gateway as its image runs it (`python -m gateway run`): it drains on SIGTERM.

    All share the two ports that callers know: the kernel gives each new connection to one that listens, as a
    Service of Kubernetes does.
    """

    def __init__(self, stack: Stack, name: str, ports: PortTaker) -> None:
        self._admin_port = ports.free_port()
        folder = stack.state.root / name
        folder.mkdir()
        environment = {
            **stack.service_environment,
            "ENVOY_ADMIN_PORT": str(self._admin_port),
            "GATEWAY_METRICS_PORT": str(ports.free_port()),
            "GATEWAY_ACCESS_LOG_PATH": "-",
            "PYTHONPATH": str(REPOSITORY),
        }
        command = [sys.executable, "-m", "gateway", "run", "--output", str(folder / "envoy.json")]
        with (stack.state.logs / f"{name}.log").open("wb") as log:
            self._process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)

    def wait_ready(self) -> None:
        """Wait until it listens and has checked the services."""
        until_s = time.monotonic() + GATEWAY_LIMIT_S
        while time.monotonic() < until_s:
            try:
                answer = httpx.get(f"http://127.0.0.1:{self._admin_port}/ready", timeout=2, verify=NO_TLS)
                if answer.text.strip() == "LIVE":
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise TimeoutError("the gateway did not become ready")

    def begin_stop(self) -> None:
        """Let it begin to drain."""
        self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Let it drain and end."""
        self.begin_stop()
        try:
            self._process.wait(GATEWAY_LIMIT_S)
        finally:
            self._process.kill()


class Suite:
    """The running suite, and functions that replace its processes."""

    def __init__(self, stack: Stack, redis_cluster_url: str, capacity: int) -> None:
        self.stack = stack
        self.capacity = capacity
        self.cluster = Cluster(stack, {})
        self.cluster.redis_cluster_url = redis_cluster_url
        self._ports = PortTaker(set())
        self._names = (f"gateway-{number}" for number in itertools.count(1))
        self._gateways = [self._start_gateway() for _ in range(2)]

    @property
    def replicas(self) -> list[str]:
        """The service processes, in the order in which they are replaced."""
        return [name for name in self.stack.processes if name.split("-")[0] in NAMES]

    def restart_replica(self, name: str) -> None:
        """Stop one service process and start it again. Its sibling serves alone in the meantime: there is no surge."""
        self.stack.restart(name)

    def replace_gateway(self) -> None:
        """Stop the oldest gateway after a new one listens, like a rollout with a surge of one."""
        self._gateways.append(self._start_gateway())
        self._gateways.pop(0).stop()

    def _start_gateway(self) -> Gateway:
        gateway = Gateway(self.stack, next(self._names), self._ports)
        gateway.wait_ready()
        return gateway

    def close(self) -> None:
        """End the gateways; the stack ends by itself."""
        for gateway in self._gateways:
            gateway.begin_stop()
        for gateway in self._gateways:
            gateway.stop()


@asynccontextmanager
async def production_suite(folder: Path, capacity: int = CAPACITY) -> AsyncIterator[Suite]:
    """Start everything below `folder`, with a drop of this capacity; nothing is left afterwards."""
    async with AsyncExitStack() as exits:
        (folder / "valkey").mkdir()
        valkey = await exits.enter_async_context(valkey_cluster(folder / "valkey"))
        stack = exits.enter_context(
            Stack.isolated(
                folder / "state",
                replicas=dict.fromkeys(NAMES, 2),
                redis_url=valkey.url,
                environment={
                    "REDIS_CLUSTER": "true",
                    "DROP_CAPACITY": str(capacity),
                    "DRAIN_DELAY_MS": str(DRAIN_DELAY_MS),
                },
            )
        )
        stack.stop_process("gateway")
        suite = Suite(stack, valkey.url, capacity)
        exits.callback(suite.close)
        yield suite
