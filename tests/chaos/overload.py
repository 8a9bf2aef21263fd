"""Five times more requests than the suite can serve, for a minute: it sheds the excess and serves the rest."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from stack.local import Stack
from tests.bench.drops import YEAR, BenchDrop, create_for_suite
from tests.chaos.cluster import REPOSITORY

CAPACITY = 600_000
PEAK_S = 12.0
# Enough in flight for full batches, and few enough that nothing is shed.
PEAK_CONNECTIONS = 128
FACTOR = 5
CALLERS = 4_000
# What one core, shared by the whole suite, answers in a quarter of a second; the default is for two of them.
GATEWAY_MAX_REQUESTS = 320
# The crowd has one address.
ENVIRONMENT = {"GATEWAY_MAX_REQUESTS": str(GATEWAY_MAX_REQUESTS), "GATEWAY_ADDRESS_MAX_CONNECTIONS": "10000"}
SERVED_SHARE = 0.8
P99_LIMIT_MS = 1_000.0


@dataclass(frozen=True, slots=True)
class OverloadResult:
    """The measurements."""

    peak_per_s: float
    offered_per_s: float
    sent_per_s: float  # less than offered if all callers were waiting for an answer
    served_per_s: float
    served_p99_ms: float
    statuses: dict[str, int]
    shed_without_retry_after: int
    broken: int
    health: dict[str, int]

    def failures(self) -> list[str]:
        """What is not as promised, in sentences."""
        failures = []
        if self.served_per_s < SERVED_SHARE * self.peak_per_s:
            failures.append(f"{self.served_per_s:.0f} served a second, less than 80 % of {self.peak_per_s:.0f}")
        if self.served_p99_ms > P99_LIMIT_MS:
            failures.append(f"p99 of the served is {self.served_p99_ms:.0f} ms")
        if self.shed_without_retry_after:
            failures.append(f"{self.shed_without_retry_after} were shed without Retry-After")
        if set(self.statuses) - {"201", "429", "503"}:
            failures.append(f"answers were {self.statuses}")
        if set(self.health) - {"ok"}:
            failures.append(f"/health said {self.health}")
        return failures


def run_overload(seconds: float = 60.0, factor: float = FACTOR, callers: int = CALLERS) -> OverloadResult:
    """Measure the peak with a closed loop, then press `factor` times as hard, by at most so many callers at once."""
    with tempfile.TemporaryDirectory(prefix="vyris-overload-") as folder, _stack(Path(folder)) as stack:
        asyncio.run(create_for_suite(stack.database_url, stack.redis_url, BenchDrop("overload", CAPACITY)))
        _pin(stack, 0)
        _crowd(stack, "warm", 200.0, 3.0, 32)
        peak = _crowd(stack, "peak", 0, PEAK_S, PEAK_CONNECTIONS)
        peak_per_s = peak["statuses"].get("201", 0) / peak["seconds"]
        health: Counter[str] = Counter()
        stop = threading.Event()
        asking = threading.Thread(target=_ask_health, args=(stack.gateway_url, health, stop))
        asking.start()
        try:
            pressed = _crowd(stack, "over", peak_per_s * factor, seconds, callers)
        finally:
            stop.set()
            asking.join()
    return OverloadResult(
        peak_per_s=round(peak_per_s, 1),
        offered_per_s=round(pressed["offered"] / pressed["seconds"], 1),
        sent_per_s=round(pressed["sent"] / pressed["seconds"], 1),
        served_per_s=round(pressed["statuses"].get("201", 0) / pressed["seconds"], 1),
        served_p99_ms=pressed["served_p99_ms"],
        statuses=pressed["statuses"],
        shed_without_retry_after=pressed["shed_without_retry_after"],
        broken=pressed["broken"] + pressed["unanswered"],
        health=dict(health),
    )


def _stack(folder: Path) -> Stack:
    return Stack.isolated(folder / "s", environment=ENVIRONMENT)


def _pin(stack: Stack, core: int) -> None:
    """Run the whole suite on one processor, and the crowd on another if there is one."""
    for process in stack.processes:
        root = psutil.Process(stack.pid(process))
        for member in (root, *root.children(recursive=True)):
            for thread in Path(f"/proc/{member.pid}/task").iterdir():
                psutil.Process(int(thread.name)).cpu_affinity([core])


def _crowd(stack: Stack, run: str, rate: float, seconds: float, connections: int) -> Any:
    arguments = (stack.settings.gateway_port, "overload", YEAR, run, rate, seconds, connections)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.crowd", *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    psutil.Process(process.pid).cpu_affinity([(psutil.cpu_count() or 1) - 1])
    output, _ = process.communicate(timeout=seconds + 60)
    return json.loads(output)


def _ask_health(url: str, seen: Counter[str], stop: threading.Event) -> None:
    with httpx.Client(base_url=url, timeout=5, trust_env=False) as client:
        while not stop.is_set():
            try:
                answer = client.get("/health")
                seen[answer.json().get("status", str(answer.status_code))] += 1
            except (httpx.HTTPError, ValueError) as error:
                seen[type(error).__name__] += 1
            time.sleep(0.5)
