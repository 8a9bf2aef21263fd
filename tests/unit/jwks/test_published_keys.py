"""Published keys: from a file or a real HTTP server, cached and bounded."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.jose import PublicKey
from services.jwks.published_keys import (
    KEYS_LIMIT,
    READ_AGAIN_S,
    REFRESH_S,
    SET_LIMIT_BYTES,
    STALE_LIMIT_S,
    KeySetUnreadable,
    PublishedKeys,
    key_set,
    p256_key,
)
from tests.signers.merchant import MerchantSigner
from vyris.errors import Retryable


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Shop(ThreadingHTTPServer):
    daemon_threads = True
    body = b""
    status = 200
    requests = 0


class Answer(BaseHTTPRequestHandler):
    server: Shop

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def shop() -> Iterator[Shop]:
    server = Shop(("127.0.0.1", 0), Answer)
    serving = threading.Thread(target=server.serve_forever, args=(0.01,))
    serving.start()
    yield server
    server.shutdown()
    serving.join()
    server.server_close()


@pytest.fixture
async def keys(shop: Shop) -> AsyncIterator[PublishedKeys[PublicKey]]:
    made = PublishedKeys(f"http://127.0.0.1:{shop.server_address[1]}/jwks", "the shop", p256_key, Clock())
    yield made
    await made.aclose()


async def test_a_new_name_while_the_source_is_away_may_be_sent_again(
    shop: Shop, keys: PublishedKeys[PublicKey]
) -> None:
    shop.body = MerchantSigner().jwks().encode()
    assert await keys.key("key-1") is not None
    clock = keys._clock_s
    assert isinstance(clock, Clock)
    clock.now_s += READ_AGAIN_S
    assert await keys.key("nobody's") is None
    clock.now_s += READ_AGAIN_S
    shop.status = 503
    for _ in range(2):
        with pytest.raises(Retryable):
            await keys.key("key-2")
    assert await keys.key("key-1") is not None
    clock.now_s += READ_AGAIN_S
    shop.status = 200
    assert await keys.key("nobody's") is None


async def test_keys_are_fetched_once_and_then_remembered(shop: Shop, keys: PublishedKeys[PublicKey]) -> None:
    signer = MerchantSigner()
    shop.body = signer.jwks().encode()
    for _ in range(5):
        assert await keys.key("key-1") is not None
    assert await keys.key(None) is not None
    assert shop.requests == 1


async def test_a_new_key_works_at_once_and_strangers_cannot_make_us_ask_again_and_again(
    shop: Shop, keys: PublishedKeys[PublicKey]
) -> None:
    signer = MerchantSigner()
    shop.body = signer.jwks().encode()
    assert await keys.key("key-1")
    signer.rotate()
    shop.body = signer.jwks().encode()
    keys._clock_s.now_s += READ_AGAIN_S
    assert await keys.key("key-2") is not None
    assert await keys.key(None) is None
    for _ in range(20):
        assert await keys.key("guess") is None
    assert shop.requests == 2


async def test_a_withdrawn_key_stops_working_within_the_refresh(shop: Shop, keys: PublishedKeys[PublicKey]) -> None:
    shop.body = MerchantSigner().jwks().encode()
    assert await keys.key("key-1")
    other = MerchantSigner()
    other.rotate()
    del other.keys["key-1"]
    shop.body = other.jwks().encode()
    keys._clock_s.now_s += REFRESH_S
    assert await keys.key("key-1") is None


@pytest.mark.parametrize("trouble", ["status", "redirect", "garbage", "too large"])
async def test_known_keys_serve_while_the_shop_is_away_but_not_for_ever(
    shop: Shop, keys: PublishedKeys[PublicKey], trouble: str
) -> None:
    shop.body = MerchantSigner().jwks().encode()
    assert await keys.key("key-1")
    shop.status = {"status": 500, "redirect": 302}.get(trouble, 200)
    shop.body = {"garbage": b"<html>", "too large": b" " * (SET_LIMIT_BYTES + 1)}.get(trouble, shop.body)
    keys._clock_s.now_s += REFRESH_S
    assert await keys.key("key-1")
    keys._clock_s.now_s += STALE_LIMIT_S
    with pytest.raises(Retryable):
        await keys.key("key-1")


async def test_without_any_keys_the_caller_is_told_to_come_again() -> None:
    with pytest.raises(Retryable):
        await PublishedKeys("http://127.0.0.1:1/jwks", "the shop", p256_key).key("key-1")
    with pytest.raises(Retryable):
        await PublishedKeys("/nowhere/jwks.json", "the shop", p256_key).key("key-1")


async def test_a_file_is_read_again(tmp_path: Path) -> None:
    signer = MerchantSigner()
    clock = Clock()
    keys = PublishedKeys(str(signer.write_jwks(tmp_path)), "the shop", p256_key, clock)
    assert await keys.key("key-1")
    signer.rotate()
    signer.write_jwks(tmp_path)
    clock.now_s += READ_AGAIN_S
    assert await keys.key("key-2")


def jwk_set(change: dict[str, object]) -> bytes:
    jwk = json.loads(MerchantSigner().jwks())["keys"][0]
    return json.dumps({"keys": [{**jwk, **change}]}).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b'{"keys": 1}',
        b'{"keys": []}',
        json.dumps({"keys": [{"kty": "RSA", "n": "x", "e": "AQAB"}]}).encode(),
        jwk_set({"d": "secret"}),
        jwk_set({"x": "AAAA"}),
        jwk_set({"kid": 7}),
        jwk_set({"use": "enc"}),
        json.dumps({"keys": json.loads(MerchantSigner().jwks())["keys"] * 2}).encode(),
        json.dumps({"keys": [{}] * (KEYS_LIMIT + 1)}).encode(),
    ],
)
def test_a_set_that_is_none_is_refused(raw: bytes) -> None:
    with pytest.raises(KeySetUnreadable):
        key_set(raw, p256_key)


def test_keys_of_other_types_are_passed_over() -> None:
    keys = json.loads(MerchantSigner().jwks())["keys"]
    found = key_set(json.dumps({"keys": [{"kty": "RSA", "kid": "r", "n": "x", "e": "AQAB"}, *keys]}).encode(), p256_key)
    assert list(found) == ["key-1"]
