"""A TLS door before a local database: the databases that come as wheels are built without TLS.

It asks for a client's certificate and records its serial number, and passes all bytes to the database's socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography import x509

from tests.stand_ins.authority import Authority

# Postgres' clients first ask for TLS in plain text, and get one letter as the answer (protocol, section 54.2.10).
SSL_REQUEST = bytes.fromhex("0000000804d2162f")
AGREED = b"S"


class TlsDoor:
    """The door's address, and the certificates of its clients."""

    def __init__(self, socket: Path, authority: Authority, *, asks_first: bool) -> None:
        """`asks_first`: as with Postgres; otherwise TLS begins at once."""
        self._socket = socket
        self._asks_first = asks_first
        certificate, key = authority.issue("database", "localhost")
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.ca_file))
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_cert_chain(certificate, key)
        self.port = 0
        self.serials: list[int] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it closes."""
        try:
            if self._asks_first:
                if await reader.readexactly(len(SSL_REQUEST)) != SSL_REQUEST:
                    return
                writer.write(AGREED)
                await writer.drain()
            await writer.start_tls(self._context)
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            self.serials.append(x509.load_der_x509_certificate(shown).serial_number)
            inner_reader, inner_writer = await asyncio.open_unix_connection(str(self._socket))
            await asyncio.gather(_carry(reader, inner_writer), _carry(inner_reader, writer))
        except (OSError, EOFError):
            pass
        finally:
            writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def tls_door(socket: Path, authority: Authority, *, asks_first: bool) -> AsyncIterator[TlsDoor]:
    """A door on a free port of the loopback interface."""
    door = TlsDoor(socket, authority, asks_first=asks_first)
    server = await asyncio.start_server(door.serve, "127.0.0.1", 0)
    door.port = server.sockets[0].getsockname()[1]
    try:
        yield door
    finally:
        server.close()
