"""Callers of one address who are slow, silent or never leave; callers of other addresses are served as before."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import grpc
import httpx
import numpy as np
from grpc_health.v1 import health_pb2

from gateway.bounds import NATIVE_CONNECTIONS_SHARE
from gateway.settings import GatewaySettings
from stack.local import Stack
from tests.bench.drops import YEAR, BenchDrop, create_for_suite
from tests.chaos.cluster import REPOSITORY
from vyris.encounter.v1 import encounter_pb2, encounter_pb2_grpc
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc
from vyris.reforge.v1 import reforge_pb2, reforge_pb2_grpc
from vyris.wallet.v1 import wallet_pb2, wallet_pb2_grpc

STRANGER: Final = "127.0.0.2"
# Native callers beside it have 127.0.0.1: gRPC chooses no address.
CALLER: Final = "127.0.0.3"
HALF_OPEN_CALLS: Final = 1_280
IDLE_CONNECTIONS: Final = 10_050
HELD_STREAMS: Final = 1_024
TIER: Final = "slow"
CAPACITY: Final = 200_000
CALLS_A_SECOND: Final = 50
LIMITS: Final = GatewaySettings(_env_file=None)
QUIET_S: Final = 10.0
READY_LIMIT_S: Final = 60.0
# Below this the machine's own noise is larger than what is measured.
P99_FLOOR_MS: Final = 25.0
NATIVE_BUSY: Final = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
}


@dataclass(frozen=True, slots=True)
class Strangers:
    """What the callers of one address do: the arguments of `tests.chaos.strangers`."""

    kind: str
    count: int
    path: str = ""
    message: bytes = b""

    @property
    def is_native(self) -> bool:
        return self.kind in {"half-open", "streams"}


def watch_drop(tier: str = TIER, year: str = YEAR) -> Strangers:
    message = mint_pb2.WatchDropRequest(tier=tier, year=year).SerializeToString()
    return Strangers("streams", HELD_STREAMS, "/vyris.mint.v1.MintService/WatchDrop", message)


def watch_health() -> Strangers:
    message = health_pb2.HealthCheckRequest(service="vyris.mint.v1.MintService").SerializeToString()
    return Strangers("streams", HELD_STREAMS, "/grpc.health.v1.Health/Watch", message)


HALF_OPEN: Final = {
    service: Strangers("half-open", HALF_OPEN_CALLS, f"/vyris.{service}.v1.{service.title()}Service/{method}")
    for service, method in (
        ("mint", "Mint"),
        ("wallet", "IssuePass"),
        ("encounter", "VerifyEncounter"),
        ("reforge", "InitReforge"),
    )
}
PHASES: Final = {
    **{f"half-open calls of {service}": one for service, one in HALF_OPEN.items()},
    "half-open requests at the JSON door": Strangers("half-open-json", HALF_OPEN_CALLS, "/mint"),
    "idle connections at the JSON door": Strangers("idle", IDLE_CONNECTIONS),
    "idle connections at the native door": Strangers("idle-native", IDLE_CONNECTIONS),
    "streams of a drop": watch_drop(),
    "streams of health": watch_health(),
}


@dataclass(slots=True)
class OthersResult:
    """What callers of other addresses got."""

    mints_ms: list[float] = field(default_factory=list)
    calls: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def p99_ms(self) -> float:
        return round(float(np.percentile(self.mints_ms, 99)), 1) if self.mints_ms else 0.0


def connections_of_one_address() -> int:
    """At the larger of the doors."""
    return round(LIMITS.gateway_address_max_connections * (1 - NATIVE_CONNECTIONS_SHARE))


@dataclass(frozen=True, slots=True)
class PhaseResult:
    """One kind of strangers, and the callers beside them."""

    name: str
    quiet_p99_ms: float
    others: OthersResult
    strangers: dict[str, Any]

    def failures(self) -> list[str]:
        """What is not as promised, in sentences."""
        failures = self.others.failures[:5]
        if self.others.p99_ms > max(2 * self.quiet_p99_ms, P99_FLOOR_MS):
            failures.append(f"p99 is {self.others.p99_ms} ms, more than twice the quiet {self.quiet_p99_ms} ms")
        # Not the most: callers also see as open what a busy gateway has not accepted yet.
        held = self.strangers["held_at_end"]
        if "idle" in self.name and held > connections_of_one_address():
            failures.append(f"one address held {held} connections")
        if "streams" in self.name and held > LIMITS.gateway_address_max_streams:
            failures.append(f"one address held {held} streams")
        return [f"{self.name}: {each}" for each in failures]


class Callers:
    """Callers of every service through both doors, at a steady rate."""

    def __init__(self, stack: Stack, run: str, tier: str = TIER) -> None:
        self._stack, self._run, self._tier = stack, run, tier
        self._sent = 0

    async def call(self, seconds: float) -> OthersResult:
        """Mint through both doors, call the other methods in between, and ask for health."""
        result = OthersResult()
        transport = httpx.AsyncHTTPTransport(local_address=CALLER, limits=httpx.Limits(keepalive_expiry=5))
        async with (
            httpx.AsyncClient(base_url=self._stack.gateway_url, transport=transport, timeout=5) as client,
            grpc.aio.insecure_channel(self._stack.gateway_grpc_target) as channel,
        ):
            mints = (self._json_mint(client), self._native_mint(channel))
            others = cycle((*self._json_others(client), *self._native_others(channel)))
            calls = cycle((*mints, *mints, None))
            until_s = time.monotonic() + seconds
            running: set[asyncio.Task[None]] = set()
            while time.monotonic() < until_s:
                made = next(calls)
                one = asyncio.create_task(self._one(result, made or next(others), is_mint=made is not None))
                running.add(one)
                one.add_done_callback(running.discard)
                await asyncio.sleep(1 / CALLS_A_SECOND)
            await asyncio.gather(*running)
        return result

    async def _one(self, result: OthersResult, call: Callable[[], Awaitable[str]], *, is_mint: bool) -> None:
        result.calls += 1
        begun_s = time.perf_counter()
        try:
            failure = await call()
        except (httpx.HTTPError, OSError) as error:
            failure = f"{type(error).__name__} {error}"
        if failure:
            result.failures.append(failure)
        elif is_mint:
            result.mints_ms.append(1000 * (time.perf_counter() - begun_s))

    def _receipt(self) -> str:
        self._sent += 1
        return f"slow-{self._run}-{self._sent}"

    def _json_mint(self, client: httpx.AsyncClient) -> Callable[[], Awaitable[str]]:
        async def mint() -> str:
            receipt = self._receipt()
            body = {"receipt_data": receipt, "user_id": receipt, "tier": self._tier, "year": YEAR}
            answer = await client.post("/mint", json=body)
            return "" if answer.status_code == 201 else f"POST /mint: {answer.status_code} {answer.text}"

        return mint

    def _native_mint(self, channel: grpc.aio.Channel) -> Callable[[], Awaitable[str]]:
        stub = mint_pb2_grpc.MintServiceStub(channel)

        async def mint() -> str:
            receipt = self._receipt()
            request = mint_pb2.MintRequest(receipt_data=receipt, user_id=receipt, tier=self._tier, year=YEAR)
            try:
                await stub.Mint(request, timeout=5)
            except grpc.aio.AioRpcError as error:
                return f"Mint: {error.code()} {error.details()}"
            return ""

        return mint

    def _json_others(self, client: httpx.AsyncClient) -> list[Callable[[], Awaitable[str]]]:
        def asks(method: str, path: str, body: dict[str, str] | None, status: int) -> Callable[[], Awaitable[str]]:
            async def ask() -> str:
                answer = await client.request(method, path, json=body)
                return "" if answer.status_code == status else f"{path}: {answer.status_code} {answer.text}"

            return ask

        membership = {"membership_id": "none", "user_id": "u"}
        move = {"new_device_id": "d", "new_public_key": "k"}
        return [
            asks("GET", "/health", None, 200),
            asks("GET", f"/drops/{self._tier}/{YEAR}", None, 200),
            asks("POST", "/issue-pass", membership, 404),
            asks("POST", "/encounters/verify", {"token": "t"}, 401),
            asks("POST", "/devices/reforge/init", membership | move, 422),
        ]

    def _native_others(self, channel: grpc.aio.Channel) -> list[Callable[[], Awaitable[str]]]:
        def asks(method: Any, request: Any) -> Callable[[], Awaitable[str]]:
            async def ask() -> str:
                try:
                    await method(request, timeout=5)
                except grpc.aio.AioRpcError as error:
                    if error.code() in NATIVE_BUSY:
                        return f"{type(request).__name__}: {error.code()} {error.details()}"
                return ""

            return ask

        async def watch() -> str:
            stream = mint_pb2_grpc.MintServiceStub(channel).WatchDrop(
                mint_pb2.WatchDropRequest(tier=self._tier, year=YEAR), timeout=5
            )
            try:
                await stream.read()
            except grpc.aio.AioRpcError as error:
                return f"WatchDrop: {error.code()} {error.details()}"
            finally:
                stream.cancel()
            return ""

        return [
            asks(wallet_pb2_grpc.WalletServiceStub(channel).IssuePass, wallet_pb2.IssuePassRequest()),
            asks(
                encounter_pb2_grpc.EncounterServiceStub(channel).VerifyEncounter,
                encounter_pb2.VerifyEncounterRequest(token="t"),
            ),
            asks(reforge_pb2_grpc.ReforgeServiceStub(channel).InitReforge, reforge_pb2.InitReforgeRequest()),
            watch,
        ]


@contextlib.asynccontextmanager
async def _running(stack: Stack, strangers: Strangers, seconds: float) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start strangers, wait until all have begun, and end them."""
    native = strangers.is_native or strangers.kind == "idle-native"
    port = stack.settings.gateway_grpc_port if native else stack.settings.gateway_port
    arguments = (strangers.kind.removesuffix("-native"), STRANGER, port, strangers.count, seconds, strangers.path)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.chaos.strangers", *map(str, arguments)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(strangers.message)
        process.stdin.close()
        async with asyncio.timeout(READY_LIMIT_S):
            assert await process.stdout.readline() == b"READY\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def call_beside(
    callers: Callers, stack: Stack, strangers: Iterable[Strangers], seconds: float
) -> tuple[OthersResult, list[Any]]:
    """Let callers call beside strangers for `seconds`; the results of both."""
    async with contextlib.AsyncExitStack() as running:
        at_work = [await running.enter_async_context(_running(stack, one, seconds)) for one in strangers]
        others = await callers.call(seconds)
        async with asyncio.timeout(READY_LIMIT_S):
            outputs = [await process.communicate() for process in at_work]
    return others, [json.loads(out) for out, _ in outputs]


def run_slow_callers(seconds: float, chosen: str, report: Callable[[PhaseResult], None]) -> list[PhaseResult]:
    """Run every kind of strangers whose name has `chosen` in it, each for `seconds`, on a stack of its own."""
    with tempfile.TemporaryDirectory(prefix="vyris-slow-") as folder, Stack.isolated(Path(folder) / "s") as stack:
        asyncio.run(create_for_suite(stack.database_url, stack.redis_url, BenchDrop(TIER, CAPACITY)))
        return asyncio.run(_phases(stack, seconds, chosen, report))


async def _phases(
    stack: Stack, seconds: float, chosen: str, report: Callable[[PhaseResult], None]
) -> list[PhaseResult]:
    results = []
    await Callers(stack, "warm").call(QUIET_S / 2)
    for number, (name, strangers) in enumerate(PHASES.items()):
        if chosen not in name:
            continue
        before = await Callers(stack, f"before-{number}").call(QUIET_S)
        others, held = await call_beside(Callers(stack, f"pressed-{number}"), stack, [strangers], seconds)
        # Other work on the machine comes and goes: the worse of two quiet stretches is what to compare with.
        after = await Callers(stack, f"after-{number}").call(QUIET_S)
        results.append(PhaseResult(name, max(before.p99_ms, after.p99_ms), others, held[0]))
        report(results[-1])
    return results
