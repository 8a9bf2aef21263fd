"""Published keys: from a file or a real HTTP server, cached and bounded."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.identity.jose import PublicKey
from services.identity.jwks import PublishedKeys, opened_keys, p256_key
from services.identity.jwks.key_set import SET_LIMIT_BYTES
from services.identity.jwks.published_keys import READ_AGAIN_S, REFRESH_S, STALE_LIMIT_S, WAITING_LIMIT
from services.server.runtime.settings import WrongSetting
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

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.answers = threading.Event()
        self.answers.set()


class Answer(BaseHTTPRequestHandler):
    server: Shop

    def do_GET(self) -> None:
        self.server.requests += 1
        self.server.answers.wait(10)
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def shop() -> Iterator[Shop]:
    server = Shop()
    serving = threading.Thread(target=server.serve_forever, args=(0.01,))
    serving.start()
    yield server
    server.answers.set()
    server.shutdown()
    serving.join()
    server.server_close()


@pytest.fixture
async def keys(shop: Shop) -> AsyncIterator[PublishedKeys[PublicKey]]:
    made = PublishedKeys(f"http://127.0.0.1:{shop.server_address[1]}/jwks", "the shop", p256_key, Clock())
    yield made
    await made.aclose()


async def wait_for_reading(keys: PublishedKeys[PublicKey]) -> None:
    assert keys._reading is not None
    await asyncio.wait([keys._reading], timeout=5)


async def test_a_new_name_while_the_source_is_away_may_be_sent_again(
    shop: Shop, keys: PublishedKeys[PublicKey]
) -> None:
    shop.body = MerchantSigner().jwks().encode()
    assert await keys.candidates("key-1")
    clock = keys._clock_s
    assert isinstance(clock, Clock)
    clock.now_s += READ_AGAIN_S
    assert not await keys.candidates("nobody's")
    clock.now_s += READ_AGAIN_S
    shop.status = 503
    for _ in range(2):
        with pytest.raises(Retryable):
            await keys.candidates("key-2")
    assert await keys.candidates("key-1")
    clock.now_s += READ_AGAIN_S
    shop.status = 200
    assert not await keys.candidates("nobody's")


async def test_keys_are_fetched_once_and_then_remembered(shop: Shop, keys: PublishedKeys[PublicKey]) -> None:
    signer = MerchantSigner()
    shop.body = signer.jwks().encode()
    for _ in range(5):
        assert await keys.candidates("key-1")
    assert await keys.candidates(None)
    assert shop.requests == 1


async def test_a_new_key_works_at_once_and_strangers_cannot_make_us_ask_again_and_again(
    shop: Shop, keys: PublishedKeys[PublicKey]
) -> None:
    signer = MerchantSigner()
    shop.body = signer.jwks().encode()
    assert await keys.candidates("key-1")
    signer.rotate()
    shop.body = signer.jwks().encode()
    keys._clock_s.now_s += READ_AGAIN_S
    assert await keys.candidates("key-2")
    for _ in range(20):
        assert not await keys.candidates("guess")
    assert shop.requests == 2


async def test_a_withdrawn_key_stops_working_within_the_refresh(shop: Shop, keys: PublishedKeys[PublicKey]) -> None:
    shop.body = MerchantSigner().jwks().encode()
    assert await keys.candidates("key-1")
    other = MerchantSigner()
    other.rotate()
    del other.keys["key-1"]
    shop.body = other.jwks().encode()
    keys._clock_s.now_s += REFRESH_S
    assert await keys.candidates("key-1")  # and a reading has begun
    await wait_for_reading(keys)
    assert not await keys.candidates("key-1")


@pytest.mark.parametrize("kid", ["key-1", None])
async def test_a_new_key_under_an_old_name_is_found_and_strangers_cannot_make_us_ask_again_and_again(
    shop: Shop, keys: PublishedKeys[PublicKey], kid: str | None
) -> None:
    shop.body = MerchantSigner().jwks().encode()
    old = await keys.candidates(kid)
    shop.body = MerchantSigner().jwks().encode()
    for _ in range(20):
        assert not await keys.newer_candidates(kid, old)
    assert shop.requests == 1
    keys._clock_s.now_s += READ_AGAIN_S
    new = await keys.newer_candidates(kid, old)
    assert len(new) == 1
    assert not await keys.newer_candidates(kid, new)
    assert shop.requests == 2


@pytest.mark.parametrize("trouble", ["status", "redirect", "garbage", "too large"])
async def test_known_keys_serve_for_a_bounded_time_while_the_shop_is_away(
    shop: Shop, keys: PublishedKeys[PublicKey], trouble: str
) -> None:
    shop.body = MerchantSigner().jwks().encode()
    assert await keys.candidates("key-1")
    shop.status = {"status": 500, "redirect": 302}.get(trouble, 200)
    shop.body = {"garbage": b"<html>", "too large": b" " * (SET_LIMIT_BYTES + 1)}.get(trouble, shop.body)
    keys._clock_s.now_s += REFRESH_S
    assert await keys.candidates("key-1")
    keys._clock_s.now_s += STALE_LIMIT_S
    with pytest.raises(Retryable):
        await keys.candidates("key-1")


async def test_without_any_keys_the_answer_is_retryable() -> None:
    with pytest.raises(Retryable):
        await PublishedKeys("http://127.0.0.1:1/jwks", "the shop", p256_key).candidates("key-1")
    with pytest.raises(Retryable):
        await PublishedKeys("/nowhere/jwks.json", "the shop", p256_key).candidates("key-1")


async def test_a_file_is_read_again(tmp_path: Path) -> None:
    signer = MerchantSigner()
    clock = Clock()
    keys = PublishedKeys(str(signer.write_jwks(tmp_path)), "the shop", p256_key, clock)
    assert await keys.candidates("key-1")
    signer.rotate()
    signer.write_jwks(tmp_path)
    clock.now_s += READ_AGAIN_S
    assert await keys.candidates("key-2")


async def test_the_caller_of_a_known_key_never_waits_for_a_source_that_hangs(
    shop: Shop, keys: PublishedKeys[PublicKey]
) -> None:
    shop.body = MerchantSigner().jwks().encode()
    assert await keys.candidates("key-1")
    shop.answers.clear()
    keys._clock_s.now_s += REFRESH_S
    began_s = time.monotonic()
    for _ in range(100):
        assert await keys.candidates("key-1")
    assert time.monotonic() - began_s < 0.5
    await asyncio.sleep(0.05)
    assert shop.requests == 2


async def test_callers_who_hang_up_do_not_end_the_reading(shop: Shop, keys: PublishedKeys[PublicKey]) -> None:
    shop.body = MerchantSigner().jwks().encode()
    shop.answers.clear()
    for _ in range(5):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(keys.candidates("key-1"), 0.02)
    shop.answers.set()
    await wait_for_reading(keys)
    assert await keys.candidates("key-1")
    assert shop.requests == 1


async def test_a_caller_with_an_unknown_name_waits_for_a_bounded_time(
    shop: Shop, keys: PublishedKeys[PublicKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.identity.jwks.published_keys.FETCH_LIMIT_S", 0.1)
    shop.answers.clear()
    began_s = time.monotonic()
    with pytest.raises(Retryable):
        await keys.candidates("key-1")
    assert time.monotonic() - began_s < 1


async def test_the_number_of_waiting_callers_is_bounded(shop: Shop, keys: PublishedKeys[PublicKey]) -> None:
    shop.body = MerchantSigner().jwks().encode()
    shop.answers.clear()
    waiting = [asyncio.create_task(keys.candidates("key-1")) for _ in range(WAITING_LIMIT)]
    await asyncio.sleep(0)
    with pytest.raises(Retryable):
        await keys.candidates("key-1")
    shop.answers.set()
    assert all(await asyncio.gather(*waiting))


async def test_a_valid_empty_set_withdraws_all_keys(shop: Shop, keys: PublishedKeys[PublicKey]) -> None:
    shop.body = MerchantSigner().jwks().encode()
    assert await keys.candidates("key-1")
    shop.body = b'{"keys": []}'
    await keys.read()
    assert not await keys.candidates("key-1")


async def test_while_no_published_key_can_be_used_the_caller_may_send_again(
    shop: Shop, keys: PublishedKeys[PublicKey]
) -> None:
    shop.body = b'{"keys": [{"kty": "EC", "crv": "P-256", "kid": "key-1"}]}'
    with pytest.raises(Retryable):
        await keys.candidates("key-1")


@pytest.mark.parametrize("body", [b"<html>", b'{"keys": []}', b'{"keys": [{"kty": "RSA"}]}', None])
async def test_a_process_starts_while_the_source_is_away_or_has_no_usable_key(shop: Shop, body: bytes | None) -> None:
    port = shop.server_address[1] if body is not None else 1
    shop.body = body or b""
    async with opened_keys("JWKS", f"http://127.0.0.1:{port}/jwks", "the shop", p256_key, production=False) as keys:
        shop.body = MerchantSigner().jwks().encode()
        if body is not None:
            await keys.read()
            assert await keys.candidates("key-1")


async def test_a_withdrawn_key_ends_although_nobody_calls(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.identity.jwks.published_keys.READ_AGAIN_S", 0.02)
    monkeypatch.setattr("services.identity.jwks.published_keys.REFRESH_S", 0.02)
    shop.body = MerchantSigner().jwks().encode()
    source = f"http://127.0.0.1:{shop.server_address[1]}/jwks"
    async with opened_keys("JWKS", source, "the shop", p256_key, production=False) as keys:
        shop.body = b'{"keys": []}'
        read = shop.requests
        async with asyncio.timeout(5):
            while shop.requests < read + 2:
                await asyncio.sleep(0.01)
        assert not keys._find("key-1")


@pytest.mark.parametrize("text", ["<html>", "[]", '{"keys": 1}', None])
async def test_an_unusable_file_is_reported_at_the_start(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "jwks.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(WrongSetting, match="JWKS"):
        async with opened_keys("JWKS", str(file), "the shop", p256_key, production=False):
            pass
