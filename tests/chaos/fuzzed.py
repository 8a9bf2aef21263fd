"""Requests as no sound caller sends them, drawn from a seed."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any, Final

# The public key of RFC 7515, appendix A.3.
KEY: Final = (
    '{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",'
    '"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}'
)
TEMPLATES: Final[dict[str, dict[str, Any]]] = {
    "/mint": {
        "receipt_data": "receipt",
        "user_id": "ann",
        "original_transaction_id": "1",
        "email": "ann@chaos.example",
        "tier": "genesis",
        "year": "2025",
        "device": {"device_id": "phone", "public_key": KEY},
    },
    "/issue-pass": {"membership_id": "6767f58f-dc42-443a-bd35-b31278a90f6c", "user_id": "ann"},
    "/encounters/verify": {"token": "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.AAAA"},
    "/devices/reforge/init": {
        "membership_id": "6767f58f-dc42-443a-bd35-b31278a90f6c",
        "user_id": "ann",
        "new_device_id": "phone",
        "new_public_key": "-----BEGIN PUBLIC KEY-----",
        "old_device_id": "old",
    },
    "/devices/reforge/confirm": {"token": "A" * 43},
    "/notifications/app-store": {"signedPayload": "a.b.c"},
    "/notifications/merchant": {"notification": "a.b.c"},
    "/v1/log": {"logs": ["it broke"]},
}
GETS: Final = (
    "/drops/genesis/2025",
    "/drops/%00/2025",
    "/memberships/6767f58f-dc42-443a-bd35-b31278a90f6c/encounters?page_token=x",
    "/v1/passes/pass.com.example/6767f58f-dc42-443a-bd35-b31278a90f6c",
    "/v1/devices/d/registrations/pass.com.example?passesUpdatedSince=zz",
    "/reforge/confirm?token=AAAA",
    "/devices/reforge/6767f58f-dc42-443a-bd35-b31278a90f6c",
    "/openapi.json",
    "/../../etc/passwd",
    "/%2e%2e/%2f",
    "/mint?receipt_data=x",
)
METHODS: Final = ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "BREW")
TEXTS: Final = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "\ud83d\ude00" * 200,
    "é" * 129,
    "x" * 50_000,
    "'; DROP TABLE slots; --",
    "{{7*7}}",
    "../../etc/passwd",
    "\u202e\u0000\ufeff",
    "-1",
    "1e999",
    "null",
    "eyJ.eyJ.",
    "eyJhbGciOiJub25lIn0.e30.",
    "A" * 43,
    "2025-13-45T99:99:99Z",
)
VALUES: Final = (None, True, -1, 0, 2**63, 1e308, [], {}, [[]], {"a": {"b": []}}, ["x"] * 100)
HEADERS: Final = (
    "DPoP: x.y.z",
    "Authorization: ApplePass " + "A" * 300,
    "grpc-timeout: 1n",
    "x-envoy-expected-rq-timeout-ms: 0",
    "content-type: application/grpc",
    "content-encoding: gzip",
    "transfer-encoding: identity",
    "x-request-id: " + "z" * 2_000,
    "te: trailers",
    "x_under_score: 1",
)


@dataclass(frozen=True, slots=True)
class FuzzedRequest:
    """The bytes, and whether nothing sensible can follow them on the same connection."""

    wire: bytes
    ends_connection: bool = False


def fuzzed_request(rng: random.Random) -> FuzzedRequest:
    """One request; nine in ten are well-formed HTTP with wrong contents."""
    kind = rng.random()
    if kind < 0.62:
        path, body = _wrong_values(rng)
        return FuzzedRequest(_post(rng, path, body))
    if kind < 0.82:
        path, body = _wrong_bytes(rng)
        return FuzzedRequest(_post(rng, path, body))
    if kind < 0.97:
        path = rng.choice((*GETS, *TEMPLATES))
        method = rng.choice(METHODS) if rng.random() < 0.4 else "GET"
        # An answer to HEAD has a length and no body.
        return FuzzedRequest(_head(rng, method, path, 0), ends_connection=method in {"HEAD", "TRACE", "BREW"})
    return FuzzedRequest(rng.randbytes(rng.randint(4, 300)) + b"\r\n\r\n", ends_connection=True)


def _wrong_values(rng: random.Random) -> tuple[str, bytes]:
    path = rng.choice(list(TEMPLATES))
    body = json.loads(json.dumps(TEMPLATES[path]))
    for name in rng.sample(list(body), rng.randint(1, len(body))):
        where, key = (body[name], rng.choice(list(body[name]))) if isinstance(body[name], dict) else (body, name)
        where[key] = rng.choice(TEXTS) if rng.random() < 0.7 else rng.choice(VALUES)
    if rng.random() < 0.1:
        body[rng.choice(TEXTS)[:100]] = rng.choice(VALUES)
    # Half of the texts go over the wire as they are, half escaped.
    text = json.dumps(body, ensure_ascii=rng.random() < 0.5)
    return path, text.encode("utf-8", "surrogatepass")


def _wrong_bytes(rng: random.Random) -> tuple[str, bytes]:
    path = rng.choice(list(TEMPLATES))
    body = bytearray(json.dumps(TEMPLATES[path]).encode())
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(body))
        match rng.randrange(3):
            case 0:
                body[at] = rng.randrange(256)
            case 1:
                del body[at:]
                body += b"x"
            case _:
                body[at:at] = rng.randbytes(rng.randint(1, 9))
    return path, bytes(body)


def _post(rng: random.Random, path: str, body: bytes) -> bytes:
    return _head(rng, "POST", path, len(body)) + body


def _head(rng: random.Random, method: str, path: str, length: int) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: fuzz"]
    if method not in {"GET", "HEAD"} or length:
        lines += [f"content-length: {length}", "content-type: application/json"]
    if rng.random() < 0.1:
        lines.append(rng.choice(HEADERS))
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
