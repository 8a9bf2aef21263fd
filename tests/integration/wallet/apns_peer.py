"""A stand-in for APNs: HTTP/2 over TLS, asks for the client's certificate, answers as the test sets."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.events
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


@dataclass(frozen=True)
class ReceivedPush:
    token: str
    headers: dict[str, str]
    body: bytes
    client_common_name: str


Answer = tuple[int, dict[str, object]]


@dataclass
class ApnsPeer:
    origin: str = ""
    ca: Path = Path()
    received: list[ReceivedPush] = field(default_factory=list)
    # The answer for a token; by default success.
    answer: Callable[[str], Answer] = lambda _: (200, {})

    def tokens(self) -> list[str]:
        return [push.token for push in self.received]


@asynccontextmanager
async def apns_peer(folder: Path, client_root: Path) -> AsyncIterator[ApnsPeer]:
    """Serve on a free port of 127.0.0.1; clients need a certificate under `client_root`."""
    peer = ApnsPeer(ca=folder / "apns_ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_server_certificate(folder))
    context.load_verify_locations(client_root)
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await _Connection(peer, reader, writer).run()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            connections.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    peer.origin = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield peer
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


class _Connection:
    def __init__(self, peer: ApnsPeer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peer, self._reader, self._writer = peer, reader, writer
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self._requests: dict[int, tuple[dict[str, str], bytearray]] = {}
        subject = dict(pair for group in writer.get_extra_info("peercert")["subject"] for pair in group)
        self._client_common_name = subject["commonName"]

    async def run(self) -> None:
        assert self._writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        self._h2.initiate_connection()
        await self._flush()
        while data := await self._reader.read(65_536):
            for event in self._h2.receive_data(data):
                self._handle(event)
            await self._flush()

    def _handle(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._requests[event.stream_id] = (dict(event.headers), bytearray())
        elif isinstance(event, h2.events.DataReceived):
            self._requests[event.stream_id][1].extend(event.data)
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self._answer(event.stream_id)

    def _answer(self, stream_id: int) -> None:
        headers, body = self._requests.pop(stream_id)
        assert headers[":method"] == "POST"
        prefix, _, segment = headers[":path"].rpartition("/")
        assert prefix == "/3/device"
        token = unquote(segment)
        self._peer.received.append(ReceivedPush(token, headers, bytes(body), self._client_common_name))
        status, document = self._peer.answer(token)
        text = json.dumps(document).encode() if document else b""
        self._h2.send_headers(stream_id, [(":status", str(status))], end_stream=not text)
        if text:
            self._h2.send_data(stream_id, text, end_stream=True)

    async def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())
        await self._writer.drain()


def _server_certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "APNs peer of the tests")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, SHA256())
    )
    pem = certificate.public_bytes(Encoding.PEM)
    (folder / "apns_ca.pem").write_bytes(pem)
    path = folder / "apns_server.pem"
    path.write_bytes(pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path
