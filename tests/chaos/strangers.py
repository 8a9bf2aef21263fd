"""Callers from one address that hold connections and calls open.

`python -m tests.chaos.strangers KIND HOST PORT COUNT SECONDS [PATH]`, where KIND is one of

- `half-open`: native calls with headers, a message's length, and then a byte now and then.
- `half-open-json`: the same at the JSON door, over HTTP/1.1.
- `idle`: connections that say nothing.
- `streams`: whole requests for a stream, which they keep; the message is read from standard input.

Each of them that ends begins again a moment later. It is a separate process, so that it does not slow other callers.
Prints READY once all have begun, and SECONDS later one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import uvloop
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

STREAMS_A_CONNECTION = 128
BYTE_EVERY_S = 4.0
AGAIN_AFTER_S = 5.0
CONNECTIONS_AT_ONCE = 200
# Younger ones may be on their way out: the gateway accepts before it refuses.
HELD_AFTER_S = 1.0


@dataclass
class Seen:
    """What the callers got."""

    begun: int = 0
    ended: int = 0
    most_held: int = 0
    held_at_end: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    held: dict[object, float] = field(default_factory=dict, repr=False)

    def begin(self, one: object, *, holds: bool = True) -> None:
        self.begun += 1
        self.held[one] = time.monotonic() if holds else math.inf

    def hold(self, one: object) -> None:
        """Count a connection or call that was accepted and stays open."""
        self.held[one] = time.monotonic()

    def end(self, one: object, status: str = "closed") -> None:
        if self.held.pop(one, None) is not None:
            self.ended += 1
            self.statuses[status] = self.statuses.get(status, 0) + 1

    def look(self) -> None:
        until_s = time.monotonic() - HELD_AFTER_S
        self.held_at_end = sum(since_s < until_s for since_s in self.held.values())
        self.most_held = max(self.most_held, self.held_at_end)


class Silent(asyncio.Protocol):
    """A connection that sends `request`, then a byte now and then if `drips`."""

    def __init__(self, seen: Seen, request: bytes = b"", *, drips: bool = False) -> None:
        self.seen, self.request, self.drips = seen, request, drips
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.seen.begin(self)
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.seen.end(self, data[9:12].decode("latin-1"))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.seen.end(self)
        if not self.over.done():
            self.over.set_result(None)

    def tick(self) -> None:
        if self.drips:
            self.transport.write(b" ")


class Native(asyncio.Protocol):
    """An HTTP/2 connection that keeps `count` calls open."""

    def __init__(self, seen: Seen, path: str, count: int, message: bytes | None) -> None:
        self.seen, self.path, self.count, self.message = seen, path, count, message
        self.over = asyncio.get_running_loop().create_future()
        self.http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.open: set[int] = set()
        self.allowed_at_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.http.initiate_connection()
        self.tick()

    def tick(self) -> None:
        """Send a byte in each open call, and open what is missing."""
        if self.over.done():
            return
        try:
            if self.message is None:
                for stream in self.open:
                    self.http.send_data(stream, b"\x00")
            if time.monotonic() >= self.allowed_at_s:
                while len(self.open) < self.count:
                    self._begin()
        except ProtocolError:
            self.transport.abort()
            return
        self.transport.write(self.http.data_to_send())

    def _begin(self) -> None:
        stream = self.http.get_next_available_stream_id()
        headers = [(":method", "POST"), (":scheme", "http"), (":authority", "strangers"), (":path", self.path)]
        headers += [("content-type", "application/grpc"), ("te", "trailers")]
        self.http.send_headers(stream, headers)
        if self.message is None:
            self.http.send_data(stream, b"\x00" + (60_000).to_bytes(4, "big"))
        else:
            self.http.send_data(stream, b"\x00" + len(self.message).to_bytes(4, "big") + self.message, end_stream=True)
        self.open.add(stream)
        # A stream is held once an answer begins; a call that never becomes whole, from its beginning.
        self.seen.begin((self, stream), holds=self.message is None)

    def data_received(self, data: bytes) -> None:
        try:
            events = self.http.receive_data(data)
        except ProtocolError:
            self.transport.abort()
            return
        statuses: dict[int, str] = {}
        for event in events:
            if isinstance(event, ResponseReceived):
                headers = dict(event.headers)
                statuses[event.stream_id] = f"{headers[':status']}/{headers.get('grpc-status', '')}"
                self.seen.hold((self, event.stream_id))
            elif isinstance(event, StreamEnded | StreamReset):
                self._ended(event.stream_id, statuses.get(event.stream_id, "reset"))
            elif isinstance(event, ConnectionTerminated):
                self.transport.abort()
                return
        self.transport.write(self.http.data_to_send())

    def _ended(self, stream: int, status: str) -> None:
        self.open.discard(stream)
        self.seen.end((self, stream), status)
        self.allowed_at_s = time.monotonic() + AGAIN_AFTER_S

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        for stream in list(self.open):
            self._ended(stream, "closed")
        if not self.over.done():
            self.over.set_result(None)


async def _keep(make: Callable[[], Silent | Native], host: str, port: int, gate: asyncio.Semaphore) -> None:
    """One connection, and the next when it is closed."""
    while True:
        try:
            async with gate:
                _, protocol = await asyncio.get_running_loop().create_connection(
                    make, "127.0.0.1", port, local_addr=(host, 0)
                )
        except OSError:
            await asyncio.sleep(AGAIN_AFTER_S)
            continue
        while not protocol.over.done():
            await asyncio.wait([protocol.over], timeout=BYTE_EVERY_S)
            if not protocol.over.done():
                protocol.tick()
        await asyncio.sleep(AGAIN_AFTER_S)


def _makers(kind: str, seen: Seen, count: int, path: str, message: bytes) -> list[Callable[[], Silent | Native]]:
    if kind == "idle":
        return [lambda: Silent(seen)] * count
    if kind == "half-open-json":
        head = f"POST {path} HTTP/1.1\r\nhost: strangers\r\ncontent-type: application/json\r\n"
        request = f"{head}content-length: 60000\r\n\r\n{{".encode()
        return [lambda: Silent(seen, request, drips=True)] * count
    shares = [min(STREAMS_A_CONNECTION, count - begun) for begun in range(0, count, STREAMS_A_CONNECTION)]
    body = None if kind == "half-open" else message
    return [lambda share=share: Native(seen, path, share, body) for share in shares]  # type: ignore[misc]


async def _run(kind: str, host: str, port: int, count: int, seconds: float, path: str, message: bytes) -> Seen:
    seen = Seen()
    gate = asyncio.Semaphore(CONNECTIONS_AT_ONCE)
    callers = [asyncio.create_task(_keep(make, host, port, gate)) for make in _makers(kind, seen, count, path, message)]
    while seen.begun < count:
        await asyncio.sleep(0.05)
    print("READY", flush=True)
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        await asyncio.sleep(0.25)
        seen.look()
    for caller in callers:
        caller.cancel()
    return seen


def main() -> None:
    # They share the machine with the suite, and must not take processor time from it.
    os.nice(19)
    kind, host, port, count, seconds, *path = sys.argv[1:]
    message = sys.stdin.buffer.read() if kind == "streams" else b""
    seen = uvloop.run(_run(kind, host, int(port), int(count), float(seconds), "".join(path), message))
    names = ("begun", "ended", "most_held", "held_at_end", "statuses")
    print(json.dumps({name: getattr(seen, name) for name in names}))


if __name__ == "__main__":
    main()
