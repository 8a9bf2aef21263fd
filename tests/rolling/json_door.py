"""A cheap caller of the JSON door: keep-alive connections, one request at a time on each.

A small client leaves the processors of a small machine to the suite; httpx takes a millisecond a request.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self

ANSWER_LIMIT_S: Final = 15.0
NO_BODY: Final = frozenset({204, 304})


class ConnectionBroke(Exception):
    """There was no connection, or it broke before the answer was complete."""


@dataclass(frozen=True)
class Answer:
    """Status, body, and headers by their names in small letters."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


@dataclass
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class JsonDoor:
    """One connection for each request in flight; idle ones are reused."""

    def __init__(self, port: int, limit_s: float = ANSWER_LIMIT_S) -> None:
        self._port = port
        self._limit_s = limit_s
        self._idle: list[_Connection] = []

    async def __aenter__(self) -> Self:
        """Connects when the first request is sent."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what is idle."""
        for connection in self._idle:
            connection.writer.close()

    async def send(
        self, path: str, body: dict[str, Any] | None, headers: Mapping[str, str] = MappingProxyType({})
    ) -> Answer:
        """POST a body, or GET without one. Raises ConnectionBroke."""
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nhost: 127.0.0.1:{self._port}\r\n"
        if body is not None:
            head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        try:
            async with asyncio.timeout(self._limit_s):
                return await self._exchange(f"{head}\r\n".encode() + content)
        except (OSError, EOFError, TimeoutError) as failure:
            raise ConnectionBroke(type(failure).__name__) from None

    async def _exchange(self, request: bytes) -> Answer:
        connection = self._idle.pop() if self._idle else await self._connect()
        try:
            connection.writer.write(request)
            status, headers = _head(await connection.reader.readuntil(b"\r\n\r\n"))
            length = 0 if status in NO_BODY else int(headers["content-length"])
            answer = Answer(status, await connection.reader.readexactly(length), headers)
        except BaseException:
            connection.writer.transport.abort()
            raise
        if headers.get("connection") == "close":
            connection.writer.close()
        else:
            self._idle.append(connection)
        return answer

    async def _connect(self) -> _Connection:
        return _Connection(*await asyncio.open_connection("127.0.0.1", self._port))


def _head(raw: bytes) -> tuple[int, dict[str, str]]:
    lines = raw.decode("latin-1").split("\r\n")
    headers = (line.partition(":") for line in lines[1:] if line)
    return int(lines[0].split(" ")[1]), {name.lower(): value.strip() for name, _, value in headers}
