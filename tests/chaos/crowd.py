"""A crowd that does not wait for answers: `python -m tests.chaos.crowd PORT TIER YEAR RUN RATE SECONDS CONNECTIONS`.

Requests leave at a fixed rate whether or not earlier ones were answered (an open loop), over as many
connections as that takes up to a limit. RATE 0: a closed loop over all connections. It is a separate
process, so that it can run on another processor. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter
from typing import cast

import uvloop

TICK_S = 0.005
ANSWER_LIMIT_S = 12.0
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Caller(asyncio.Protocol):
    """One connection, with at most one request in flight."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.buffer = b""
        self.sent_s = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> None:
        assert self.transport is not None
        self.sent_s = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end]
        length = LENGTH.search(head)
        if length is None or len(self.buffer) < end + 4 + int(length[1]):
            return
        self.buffer = b""
        self.crowd.answered(self, int(head[9:12]), b"retry-after" in head.lower())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.crowd.lost(self)


class Crowd:
    """All callers, and the answers that they got."""

    def __init__(self, tier: str, year: str, run: str) -> None:
        self.named = f'"tier":"{tier}","year":"{year}"'
        self.run = run
        self.idle: list[Caller] = []
        self.busy: set[Caller] = set()
        self.statuses: Counter[int] = Counter()
        self.served_s: list[float] = []
        self.shed_without_retry_after = 0
        self.broken = 0
        self.sent = 0
        self.unsent = 0
        # Until then the next request follows each answer at once (a closed loop).
        self.again_until_s = 0.0

    def request(self) -> bytes:
        self.sent += 1
        body = f'{{"receipt_data":"crowd-{self.run}-{self.sent}","user_id":"caller-{self.sent}",{self.named}}}'.encode()
        return (
            b"POST /mint HTTP/1.1\r\nhost: crowd\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            % len(body)
        ) + body

    def answered(self, caller: Caller, status: int, has_retry_after: bool) -> None:
        self.statuses[status] += 1
        if status == 201:
            self.served_s.append(time.perf_counter() - caller.sent_s)
        elif status in {429, 503} and not has_retry_after:
            self.shed_without_retry_after += 1
        if time.perf_counter() < self.again_until_s:
            caller.send(self.request())
            return
        self.busy.discard(caller)
        self.idle.append(caller)

    def lost(self, caller: Caller) -> None:
        if caller in self.busy:
            self.broken += 1
            self.busy.discard(caller)
        elif caller in self.idle:
            self.idle.remove(caller)

    async def fill(self, port: int, seconds: float, connections: int) -> float:
        """Let each connection send again after each answer; return how long it did."""
        loop = asyncio.get_running_loop()
        self.again_until_s = time.perf_counter() + seconds
        for _ in range(connections):
            _, caller = await loop.create_connection(lambda: Caller(self), "127.0.0.1", port)
            self.busy.add(caller)
            caller.send(self.request())
        await asyncio.sleep(seconds)
        await self._last_answers()
        return seconds

    async def _last_answers(self) -> None:
        until_s = time.perf_counter() + ANSWER_LIMIT_S
        while self.busy and time.perf_counter() < until_s:
            await asyncio.sleep(TICK_S)

    async def press(self, port: int, rate: float, seconds: float, connections: int) -> float:
        """Send at `rate` a second for `seconds`; return how long it took until the last answer."""
        loop = asyncio.get_running_loop()
        began_s = time.perf_counter()
        due = 0.0
        while (elapsed_s := time.perf_counter() - began_s) < seconds:
            while due < elapsed_s * rate:
                due += 1
                if not self.idle and len(self.busy) < connections:
                    _, caller = await loop.create_connection(lambda: Caller(self), "127.0.0.1", port)
                    self.idle.append(caller)
                if not self.idle:
                    self.unsent += 1
                    continue
                caller = self.idle.pop()
                self.busy.add(caller)
                caller.send(self.request())
            await asyncio.sleep(TICK_S)
        await self._last_answers()
        return seconds


def percentile_ms(values_s: list[float], share: float) -> float:
    ordered = sorted(values_s) or [0.0]
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1_000, 1)


def main() -> None:
    port, tier, year, run, rate, seconds, connections = sys.argv[1:]
    crowd = Crowd(tier, year, run)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if float(rate):
            took_s = runner.run(crowd.press(int(port), float(rate), float(seconds), int(connections)))
        else:
            took_s = runner.run(crowd.fill(int(port), float(seconds), int(connections)))
    result = {
        "seconds": took_s,
        "offered": crowd.sent + crowd.unsent,
        "sent": crowd.sent,
        "statuses": crowd.statuses,
        "served_p50_ms": percentile_ms(crowd.served_s, 0.5),
        "served_p99_ms": percentile_ms(crowd.served_s, 0.99),
        "shed_without_retry_after": crowd.shed_without_retry_after,
        "broken": crowd.broken,
        "unanswered": len(crowd.busy),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
