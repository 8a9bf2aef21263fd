"""A small load generator: so many HTTP/1.1 connections, each with one request under way at a time.

Requests are bytes made beforehand and answers are read no further than their status and length, so that
the generator takes little of the processor that it shares with what it measures.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


@dataclass
class Outcome:
    """What a run saw: answers by status, and how long each took."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)

    def rate(self, status: int) -> float:
        """Answers of this status a second."""
        return self.statuses[status] / self.seconds

    def percentile_ms(self, share: float) -> float:
        """The latency that this share of the answers did not pass."""
        ordered = sorted(self.latencies_s)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1_000


def post(path: str, body: dict[str, object]) -> bytes:
    """A JSON request as it goes over the wire."""
    content = json.dumps(body).encode()
    fields = ("host: localhost", "content-type: application/json", f"content-length: {len(content)}")
    return "\r\n".join((f"POST {path} HTTP/1.1", *fields, "", "")).encode() + content


def get(path: str) -> bytes:
    """A request without a body."""
    return f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()


async def load(port: int, requests: Iterator[bytes], *, connections: int, limit_s: float) -> Outcome:
    """Send `requests` until there are no more or `limit_s` is over."""
    outcome = Outcome()
    began_s = time.perf_counter()
    until_s = began_s + limit_s
    await asyncio.gather(*(_connection(port, requests, until_s, outcome) for _ in range(connections)))
    outcome.seconds = time.perf_counter() - began_s
    return outcome


async def _connection(port: int, requests: Iterator[bytes], until_s: float, outcome: Outcome) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for request in requests:
            sent_s = time.perf_counter()
            if sent_s > until_s:
                return
            writer.write(request)
            outcome.statuses[await _answer(reader)] += 1
            outcome.latencies_s.append(time.perf_counter() - sent_s)
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    if length is not None:
        await reader.readexactly(int(length[1]))
    elif _CHUNKED.search(head):
        while (size := int((await reader.readline()).split(b";")[0], 16)) > 0:
            await reader.readexactly(size + 2)
        await reader.readline()
    return int(head[9:12])
