"""A short drop on a local stack with a real Prometheus at its metrics: what the dashboard has to show.

Opens with a rush that sells out; in the middle of it Redis is away for some seconds. Members fetch passes meanwhile.
"""

from __future__ import annotations

import asyncio
import math
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from stack.local import Stack
from stack.ports import PortTaker
from vyris.client import AsyncClient
from vyris.errors import VyrisError

CAPACITY: Final = 6_000
LASTS_S: Final = 150.0
RUSH_PER_S: Final = 140.0
# The rush ebbs to a third in so long.
EBB_S: Final = 60.0
REDIS_AWAY_S: Final = (30.0, 42.0)
RULES: Final = Path(__file__).with_name("alerts.yaml")
CONFIGURATION: Final = """\
global: {{scrape_interval: 1s, evaluation_interval: 5s}}
rule_files: ['{rules}']
scrape_configs:
{jobs}"""
START_LIMIT_S: Final = 30.0


class Prometheus:
    """A server of the real thing."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def wait_ready(self) -> None:
        """Wait until it answers. Raises TimeoutError."""
        until_s = time.monotonic() + START_LIMIT_S
        while time.monotonic() < until_s:
            try:
                if httpx.get(f"{self._url}/-/ready", trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        raise TimeoutError("Prometheus did not become ready")

    def series(self, expression: str, began_s: float, ended_s: float, step_s: float) -> list[dict[str, Any]]:
        """What a panel's query answers: each series with its labels and values."""
        asked: dict[str, str | float] = {"query": expression, "start": began_s, "end": ended_s, "step": step_s}
        answer = httpx.get(f"{self._url}/api/v1/query_range", params=asked, timeout=30, trust_env=False)
        answer.raise_for_status()
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result

    def fired(self, began_s: float, ended_s: float) -> list[str]:
        """The alerts that fired in that time."""
        found = self.series('ALERTS{alertstate="firing"}', began_s, ended_s, 5)
        return sorted({series["metric"]["alertname"] for series in found})


@contextmanager
def watching(stack: Stack, folder: Path) -> Iterator[Prometheus]:
    """Prometheus at the metrics of every process. Raises FileNotFoundError where it is not installed."""
    binary = shutil.which("prometheus")
    if binary is None:
        raise FileNotFoundError("no prometheus on the PATH: install Prometheus (Debian: apt-get install prometheus)")
    jobs = ""
    for name, port in stack.listens.items():
        if name.endswith("_metrics"):
            process = name.removesuffix("_metrics").split("-")[0]
            jobs += f"  - {{job_name: vyris-{process}-{port}, static_configs: [{{targets: ['127.0.0.1:{port}']}}],"
            jobs += f" relabel_configs: [{{target_label: job, replacement: vyris-{process}}}]}}\n"
    configuration = folder / "prometheus.yaml"
    configuration.write_text(CONFIGURATION.format(rules=RULES, jobs=jobs), encoding="utf-8")
    port = PortTaker(set()).free_port()
    command = [
        binary,
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'series'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    running = subprocess.Popen(command)
    try:
        server = Prometheus(port)
        server.wait_ready()
        yield server
    finally:
        running.terminate()
        running.wait()


class Crowd:
    """Buyers at the pace of a rush, members who fetch their passes."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._random = random.Random(2025)  # noqa: S311 - a load, no secret
        self._members: list[tuple[str, str]] = []

    async def come(self) -> None:
        """Until the day is over."""
        began_s = time.monotonic()
        number = 0
        async with asyncio.TaskGroup() as group:
            while (passed_s := time.monotonic() - began_s) < LASTS_S:
                while number < _come_by(passed_s):
                    number += 1
                    group.create_task(self._buy(number))
                    if number % 20 == 0 and self._members:
                        group.create_task(self._fetch_pass())
                    if number % 40 == 0:
                        group.create_task(self._look())
                await asyncio.sleep(0.02)

    async def _buy(self, number: int) -> None:
        # One in fifty sends a receipt again that was sent before.
        receipt = f"receipt {self._random.randrange(number)}" if number % 50 == 0 else f"receipt {number}"
        user = receipt.replace("receipt", "buyer")
        try:
            minted = await self._client.mint(receipt, user)
        except VyrisError:
            return
        self._members.append((minted.membership.id, user))

    async def _fetch_pass(self) -> None:
        try:
            await self._client.issue_pass(*self._random.choice(self._members))
        except VyrisError:
            return

    async def _look(self) -> None:
        try:
            await self._client.get_drop("genesis", "2025")
        except VyrisError:
            return


def _come_by(passed_s: float) -> float:
    """How many buyers have come so far: RUSH_PER_S at first, a third of it every EBB_S."""
    return RUSH_PER_S * EBB_S / math.log(3) * (1 - 3 ** (-passed_s / EBB_S))


async def _redis_away(stack: Stack) -> None:
    away_s, back_s = REDIS_AWAY_S
    await asyncio.sleep(away_s)
    await asyncio.to_thread(stack.stop_process, "valkey")
    await asyncio.sleep(back_s - away_s)
    await asyncio.to_thread(stack.start_process, "valkey")


@asynccontextmanager
async def drop_day() -> AsyncIterator[tuple[Prometheus, float, float]]:
    """Prometheus after such a day, and when it began and ended (Unix time)."""
    with tempfile.TemporaryDirectory(prefix="vyris-day-") as name:
        folder = Path(name)
        async with AsyncExitStack() as exits:
            environment = {"DROP_CAPACITY": str(CAPACITY)}
            stack = exits.enter_context(Stack.isolated(folder / "state", replicas={"mint": 2}, environment=environment))
            prometheus = exits.enter_context(watching(stack, folder))
            client = await exits.enter_async_context(AsyncClient(stack.gateway_grpc_target))
            await asyncio.sleep(5)
            began_s = time.time()
            await asyncio.gather(Crowd(client).come(), _redis_away(stack))
            yield prometheus, began_s, time.time()
