"""A caller that speaks HTTP/2 itself: gRPC's own client shows no frames, and cannot be as rude."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events

Headers = list[tuple[bytes, bytes]]


@dataclass
class Answer:
    """What came of one call, by frame."""

    headers: list[Headers] = field(default_factory=list)
    data: bytes = b""
    ended: bool = False
    reset: bool = False

    def header(self, key: bytes) -> bytes | None:
        """From whichever frame has it."""
        return next((value for frame in self.headers for name, value in frame if name == key), None)


def framed(message: bytes) -> bytes:
    """With gRPC's five bytes before it."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class RawCaller:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(validate_outbound_headers=False))
        self._http.initiate_connection()

    async def ask(self, path: str, data: bytes = b"", *, ends: bool = True, extra: Headers | None = None) -> int:
        """Headers, and `data` as it is; the stream's number. Without data the headers end what is sent."""
        stream = self._http.get_next_available_stream_id()
        headers: Headers = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", b"test"),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
        ]
        self._http.send_headers(stream, headers + (extra or []), end_stream=ends and not data)
        if data:
            self._http.send_data(stream, data, end_stream=ends)
        await self._flush()
        return stream

    async def answer(self, stream: int) -> Answer:
        """All of it."""
        answer = Answer()
        async with asyncio.timeout(5):
            while not (answer.ended or answer.reset):
                data = await self._reader.read(65_536)
                assert data, "the server hung up"
                for event in self._http.receive_data(data):
                    if getattr(event, "stream_id", None) == stream:
                        _note(answer, event)
                await self._flush()
        return answer

    async def pings(self, count: int, every_s: float) -> str:
        """Send pings of HTTP/2; the reason with which the server ended the connection, empty where it did not."""
        clock = asyncio.get_running_loop().time
        for number in range(count):
            self._http.ping(number.to_bytes(8, "big"))
            await self._flush()
            until_s = clock() + every_s
            while (left_s := until_s - clock()) > 0:
                reason = await self._goodbye(left_s)
                if reason is not None:
                    return reason
        return ""

    async def _goodbye(self, within_s: float) -> str | None:
        """Read once; the reason of a GOAWAY frame or of a closed connection."""
        try:
            data = await asyncio.wait_for(self._reader.read(65_536), within_s)
        except TimeoutError:
            return None
        if not data:
            return "closed"
        events = self._http.receive_data(data)
        await self._flush()
        ends = [event for event in events if isinstance(event, h2.events.ConnectionTerminated)]
        return (ends[0].additional_data or b"").decode() or "ended" if ends else None

    async def server_settings(self) -> dict[int, int]:
        """The server's SETTINGS by code (RFC 9113 section 6.5.2)."""
        async with asyncio.timeout(5):
            while True:
                events = self._http.receive_data(await self._reader.read(65_536))
                for event in events:
                    if isinstance(event, h2.events.RemoteSettingsChanged):
                        return {int(code): change.new_value for code, change in event.changed_settings.items()}

    def vanish(self) -> None:
        """Close the socket without a word."""
        self._writer.transport.abort()

    async def _flush(self) -> None:
        self._writer.write(self._http.data_to_send())
        await self._writer.drain()


def _note(answer: Answer, event: h2.events.Event) -> None:
    match event:
        case h2.events.ResponseReceived() | h2.events.TrailersReceived():
            answer.headers.append(list(event.headers))
        case h2.events.DataReceived():
            answer.data += event.data
        case h2.events.StreamEnded():
            answer.ended = True
        case h2.events.StreamReset():
            answer.reset = True


@asynccontextmanager
async def raw_caller(port: int) -> AsyncIterator[RawCaller]:
    """Connected to the port of this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    caller = RawCaller(reader, writer)
    try:
        yield caller
    finally:
        caller.vanish()
