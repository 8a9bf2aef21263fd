"""Bad input by the ten thousand: never a 5xx for a caller's mistake, no process ends, none grows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from stack.local import Stack
from tests.chaos.fuzzed import fuzzed_request
from tests.error_body import KEYS

CONNECTIONS: Final = 32
ANSWER_LIMIT_S: Final = 15.0
WARM_UP_SHARE: Final = 0.2
BYTES_A_PORT: Final = 150
SLOW_CALLERS: Final = 40
SLOW_BYTES: Final = 8
# A process may keep what it has learned to reuse; a leak of a kilobyte a request would show as more.
GROWTH_LIMIT_BYTES: Final = 40 << 20
LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LEAKS: Final = (b"Traceback", b"asyncpg", b"SELECT ", b"grpc._")


@dataclass(slots=True)
class FuzzResult:
    """The result of a run."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    closed: int = 0
    failures: list[str] = field(default_factory=list)
    growth_bytes: dict[str, int] = field(default_factory=dict)


def run_fuzz(requests: int, seed: int) -> FuzzResult:
    """Send so many requests, random bytes to every port, and slow callers."""
    result = FuzzResult()
    with tempfile.TemporaryDirectory(prefix="vyris-fuzz-") as folder, Stack.isolated(Path(folder) / "s") as stack:
        port = stack.settings.gateway_port
        before = _processes(stack)
        asyncio.run(_send(port, int(requests * WARM_UP_SHARE), seed, result))
        sizes = _sizes(stack)
        asyncio.run(_send(port, requests - result.requests, seed + 1, result))
        asyncio.run(_bytes_at_every_port(stack, random.Random(seed)))
        asyncio.run(_slow_callers(port, result))
        result.growth_bytes = {name: size - sizes[name] for name, size in _sizes(stack).items()}
        _judge(stack, before, result)
    return result


def _judge(stack: Stack, before: Mapping[str, int], result: FuzzResult) -> None:
    for name, pid in _processes(stack).items():
        if pid != before[name]:
            result.failures.append(f"{name} ended and was started again")
    for name, grown in result.growth_bytes.items():
        if grown > GROWTH_LIMIT_BYTES:
            result.failures.append(f"{name} grew by {grown >> 20} MiB")
    for status, count in result.statuses.items():
        if status >= 500:
            result.failures.append(f"{count} answers were {status}")


def _processes(stack: Stack) -> dict[str, int]:
    return {name: stack.pid(name) for name in stack.processes}


def _sizes(stack: Stack) -> dict[str, int]:
    """Resident memory of each process in bytes; Postgres' shared buffers are no leak, so it is left out."""
    return {
        name: psutil.Process(pid).memory_info().rss for name, pid in _processes(stack).items() if name != "postgres"
    }


async def _send(port: int, requests: int, seed: int, result: FuzzResult) -> None:
    rng = random.Random(seed)
    goal = result.requests + requests

    async def caller() -> None:
        while result.requests < goal:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                await _conversation(reader, writer, rng, goal, result)
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                # Envoy closes a connection whose framing it cannot trust any more.
                result.closed += 1
            except TimeoutError:
                result.failures.append("a request got no answer")

    await asyncio.gather(*(caller() for _ in range(CONNECTIONS)))


async def _conversation(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random, goal: int, result: FuzzResult
) -> None:
    try:
        while result.requests < goal:
            result.requests += 1
            request = fuzzed_request(rng)
            writer.write(request.wire)
            async with asyncio.timeout(ANSWER_LIMIT_S):
                status, head, body = await _answer(reader)
            result.statuses[status] += 1
            fault = _find_fault(status, head, body)
            if fault:
                result.failures.append(f"{fault} to {request.wire[:200]!r}: {body[:200]!r}")
            if request.ends_connection or b"connection: close" in head.lower():
                return
    finally:
        writer.transport.abort()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = LENGTH.search(head)
    body = await reader.readexactly(int(length[1])) if length else b""
    return int(head[9:12]), head, body


def _find_fault(status: int, head: bytes, body: bytes) -> str:
    if status >= 500:
        return f"{status}"
    if any(leak in body for leak in LEAKS):
        return "a leak"
    if status >= 400 and b"application/json" in head and body and not _is_error_body(body):
        return "an error body of another form"
    return ""


def _is_error_body(body: bytes) -> bool:
    try:
        document: Any = json.loads(body)
    except ValueError:
        return False
    return isinstance(document, dict) and set(document) == KEYS


async def _bytes_at_every_port(stack: Stack, rng: random.Random) -> None:
    ports = [port for port in stack.listens.values() if isinstance(port, int)]

    async def throw(port: int, thrown: bytes) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(thrown)
                async with asyncio.timeout(0.3):
                    while await reader.read(4096):
                        pass
            finally:
                writer.transport.abort()

    for port in ports:
        for _ in range(BYTES_A_PORT // 10):
            thrown = [rng.randbytes(rng.choice((1, 9, 24, 500, 20_000))) for _ in range(8)]
            # What HTTP/2 begins with, and nonsense after it.
            thrown += [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + rng.randbytes(60) for _ in range(2)]
            await asyncio.gather(*(throw(port, each) for each in thrown))


async def _slow_callers(port: int, result: FuzzResult) -> None:
    """Many send a byte a second; meanwhile others are served as before."""

    async def drip() -> None:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            for byte in b"POST /mint HTTP/1.1\r\n"[:SLOW_BYTES]:
                writer.write(bytes([byte]))
                await asyncio.sleep(1)
            writer.transport.abort()

    async def ask() -> None:
        for _ in range(SLOW_BYTES):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /health HTTP/1.1\r\nhost: fuzz\r\n\r\n")
            async with asyncio.timeout(ANSWER_LIMIT_S):
                status, _, body = await _answer(reader)
            if status != 200:
                result.failures.append(f"/health said {status} {body!r} beside slow callers")
            writer.transport.abort()
            await asyncio.sleep(0.5)

    await asyncio.gather(*(drip() for _ in range(SLOW_CALLERS)), ask())
