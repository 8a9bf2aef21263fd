"""A TCP proxy between two processes that delays, swallows, resets or cuts what they send."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

CHUNK_BYTES: Final = 65_536

BOTH: Final = frozenset({"up", "down"})


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault of a link. `directions`: `up` is to the server, `down` to the client."""

    delay_s: float = 0.0  # each chunk waits so long
    black_hole: bool = False  # bytes vanish, connections stay
    refuse: bool = False  # new connections are reset
    cut_after_bytes: int | None = None  # the connection is reset once so many bytes went by
    directions: frozenset[str] = BOTH


HEALTHY: Final = Trouble(directions=frozenset())


@dataclass(eq=False, slots=True)
class _Link:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    passed_bytes: int = 0

    def reset(self) -> None:
        """Send RST to both sides, like a host that is gone."""
        for writer in (self.client, self.server):
            connected = writer.get_extra_info("socket")
            if connected is not None and connected.family != socket.AF_UNIX:
                with contextlib.suppress(OSError):
                    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Proxy:
    """Listens on a free loopback port and passes bytes on to `target`, (host, port) or a unix socket."""

    def __init__(self, name: str, target: tuple[str, int] | Path) -> None:
        self.name = name
        self.port = 0
        self._target = target
        self._trouble = HEALTHY
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()

    @property
    def target(self) -> tuple[str, int] | Path:
        """The address to which it passes bytes."""
        return self._target

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        self.reset()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def suffer(self, trouble: Trouble) -> None:
        """Apply this fault from now on, to open connections and new ones."""
        for link in self._links:
            link.passed_bytes = 0
        self._trouble = trouble

    def heal(self) -> None:
        """End the fault. Connections with lost bytes are reset, because their streams have holes."""
        had_holes = self._trouble.black_hole
        self._trouble = HEALTHY
        if had_holes:
            self.reset()

    def lead_to(self, target: tuple[str, int] | Path) -> None:
        """Pass bytes to another server from now on; reset connections to the old one."""
        self._target = target
        self.reset()

    def reset(self) -> None:
        """Reset every connection."""
        for link in list(self._links):
            link.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._serve(reader, writer)
        writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._trouble.refuse:
            return
        if isinstance(self._target, Path):
            upstream_reader, upstream = await asyncio.open_unix_connection(str(self._target))
        else:
            upstream_reader, upstream = await asyncio.open_connection(*self._target)
        link = _Link(writer, upstream)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(link, "up", reader, upstream))
                group.create_task(self._pump(link, "down", upstream_reader, writer))
        except* OSError:
            link.reset()
        finally:
            self._links.discard(link)
            upstream.transport.abort()

    async def _pump(
        self, link: _Link, direction: str, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        while chunk := await source.read(CHUNK_BYTES):
            trouble = self._trouble
            if direction in trouble.directions:
                if trouble.delay_s:
                    await asyncio.sleep(trouble.delay_s)
                if trouble.black_hole:
                    continue
                if trouble.cut_after_bytes is not None:
                    link.passed_bytes += len(chunk)
                    if link.passed_bytes > trouble.cut_after_bytes:
                        sink.write(chunk[: max(len(chunk) // 2, 1)])
                        link.reset()
                        return
            sink.write(chunk)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()
