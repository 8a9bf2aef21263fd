"""Headers that HTTP lets a server ignore change nothing; unservable requests get an error with three keys."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from tests.integration.gateway.peers import Gateway, Services

POST = b"POST /mint HTTP/1.1"
CHUNKED = b"1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n"
CHUNKED_WITH_TRAILER = b"2\r\n{}\r\n0\r\nx-checksum: 1\r\n\r\n"
GZIPPED = bytes.fromhex("1f8b0800000000000003abae050043bfa6a302000000")


def _request(start: bytes, headers: tuple[bytes, ...], body: bytes = b"{}") -> bytes:
    """Add Host unless there is one or HTTP/1.0 needs none, and a length unless the body is chunked."""
    names = {header.split(b":")[0].lower() for header in headers}
    more = [] if b"host" in names or start.endswith(b"1.0") else [b"Host: vyris.example"]
    if start.startswith(b"POST") and b"transfer-encoding" not in names:
        more.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([start, *headers, *more, b"", b""]) + (body if start.startswith(b"POST") else b"")


SERVED: dict[str, bytes] = {
    "TLS upgrade, as Apache HttpClient offers": _request(POST, (b"Connection: Upgrade", b"Upgrade: TLS/1.2")),
    "two upgrades": _request(POST, (b"Connection: upgrade", b"Upgrade: TLS/1.3, HTTP/2.0")),
    "upgrade that ends the connection": _request(POST, (b"Connection: close, Upgrade", b"Upgrade: TLS/1.2")),
    "upgrade that is not nominated": _request(POST, (b"Upgrade: TLS/1.2",)),
    "HTTP/2 upgrade": _request(
        POST, (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
    ),
    "WebSocket upgrade": _request(
        POST, (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: eA==")
    ),
    "upgrade of a read": _request(b"GET /drops/genesis/2025 HTTP/1.1", (b"Connection: Upgrade", b"Upgrade: TLS/1.2")),
    "upgrade of a page": _request(b"GET /docs HTTP/1.1", (b"Connection: Upgrade", b"Upgrade: TLS/1.2")),
    "upgrade of health": _request(b"GET /health HTTP/1.1", (b"Connection: Upgrade", b"Upgrade: TLS/1.2")),
    "expectation": _request(POST, (b"Expect: 100-continue",)),
    "trailers wanted": _request(POST, (b"Connection: TE", b"TE: trailers")),
    "gzip wanted": _request(POST, (b"Connection: TE", b"TE: gzip, trailers;q=0.5")),
    "header for the next hop": _request(POST, (b"Connection: keep-alive, X-Foo", b"X-Foo: 1")),
    "keep-alive": _request(POST, (b"Connection: keep-alive", b"Keep-Alive: timeout=5, max=100")),
    "headers for a proxy": _request(POST, (b"Proxy-Connection: keep-alive", b"Via: 1.1 proxy", b"Max-Forwards: 3")),
    "encodings accepted": _request(POST, (b"Accept-Encoding: br, gzip, zstd", b"Accept: text/html")),
    "no encoding": _request(POST, (b"Content-Encoding: identity",)),
    "chunks": _request(POST, (b"Transfer-Encoding: chunked",), CHUNKED),
    "chunks and a trailer": _request(
        POST, (b"Transfer-Encoding: chunked", b"Trailer: x-checksum"), CHUNKED_WITH_TRAILER
    ),
    "HTTP/1.0": _request(b"POST /mint HTTP/1.0", ()),
    "HTTP/1.0 with keep-alive": _request(b"POST /mint HTTP/1.0", (b"Host: x", b"Connection: keep-alive")),
    "absolute target": _request(b"POST http://vyris.example/mint HTTP/1.1", ()),
    "charset": _request(POST, (b"Content-Type: application/json; charset=utf-8",)),
    "vendor's JSON": _request(POST, (b"Content-Type: application/vnd.vyris+json",)),
    "another content type": _request(POST, (b"Content-Type: text/plain",)),
    "range and condition": _request(
        b"GET /drops/genesis/2025 HTTP/1.1", (b"Range: bytes=0-1", b'If-None-Match: "x"', b"Priority: u=1")
    ),
    "host in capitals with a port": _request(POST, (b"Host: VYRIS.EXAMPLE.:80",)),
    "empty header, and one in Latin-1": _request(POST, (b"X-Empty:", b"X-Name: caf\xe9")),
}

REFUSED: dict[str, bytes] = {
    "compressed body": _request(POST, (b"Content-Encoding: gzip",), GZIPPED),
    "compressed transfer": _request(POST, (b"Transfer-Encoding: gzip, chunked",), CHUNKED),
    "no host": POST + b"\r\nContent-Length: 2\r\n\r\n{}",
    "underscore": _request(POST, (b"X_Forwarded_For: 1",)),
    "nominates the caller's address": _request(POST, (b"Connection: close, x-forwarded-for",)),
}


async def _answer(gateway: Gateway, request: bytes) -> tuple[int, bytes]:
    """Status and body of the final answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.settings.gateway_port)
    try:
        writer.write(request)
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"HTTP/1.1 100 "):
                head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
            body = await (reader.readexactly(int(length[1])) if length else reader.read())
    finally:
        writer.close()
    return int(head.split(b" ")[1]), body


@pytest.mark.parametrize("name", SERVED)
async def test_headers_that_a_server_may_ignore_are_ignored(services: Services, gateway: Gateway, name: str) -> None:
    status, _ = await _answer(gateway, SERVED[name])
    assert status == (201 if SERVED[name].startswith(b"POST") else 200)
    for call in services.calls:
        assert not {"upgrade", "http2-settings", "expect", "keep-alive", "connection"} & call.metadata.keys()


@pytest.mark.parametrize("name", REFUSED)
async def test_requests_that_cannot_be_served_get_an_error_with_three_keys(
    services: Services, gateway: Gateway, name: str
) -> None:
    status, body = await _answer(gateway, REFUSED[name])
    assert status == 422
    assert json.loads(body) | {"message": ""} == {"error": "INVALID_REQUEST", "message": "", "retryable": False}
    assert services.calls == []
