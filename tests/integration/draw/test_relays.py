"""Relays that lie, are slow, or are silent never lead to a draw; a good one afterwards does, once."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from services.draw.chains import QUICKNET
from services.draw.relays import Relays
from services.draw.settings import DrawSettings
from services.draw.worker import Beacons, DrawWorker
from tests.integration.draw.conftest import BEACON, OpenNight
from tests.unit.draw.test_chains import ROUNDS

NUMBER = 1000
SIGNATURE = ROUNDS[NUMBER]
TRUE = {"round": NUMBER, "randomness": "00" * 32, "signature": SIGNATURE}
PATH = f"/{QUICKNET.chain_hash.hex()}/public/{NUMBER}"


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def said(**changes: object) -> bytes:
    return http(json.dumps({**TRUE, **changes}).encode())


def one_bit_off() -> str:
    raw = bytearray.fromhex(SIGNATURE)
    raw[20] ^= 1
    return raw.hex()


LIES: dict[str, Callable[[str], bytes]] = {
    "one bit off": lambda _: said(signature=one_bit_off()),
    "another round's": lambda _: said(signature=ROUNDS[42]),
    "another round": lambda _: said(round=42, signature=ROUNDS[42]),
    "another chain": lambda _: said(signature=(BEACON.signature(NUMBER, BEACON.chain.round_at(NUMBER)) or b"").hex()),
    "a page": lambda _: http(b"<!doctype html><title>Welcome</title>"),
    "no signature": lambda _: said(signature=None),
    "a number in its place": lambda _: said(signature=7),
    "too much": lambda _: http(json.dumps({**TRUE, "padding": "x" * 5_000}).encode()),
    "a bomb": lambda _: http(gzip.compress(json.dumps(TRUE).encode()), "200 OK", "content-encoding: gzip"),
    "a redirect": lambda other: http(b"", "302 Found", f"location: {other}{PATH}"),
    "an error": lambda _: http(json.dumps(TRUE).encode(), "404 Not Found"),
    "half an answer": lambda _: said()[:-40],
    "nothing": lambda _: b"",
    "silence": lambda _: b"SILENCE",
    "a drip": lambda _: b"DRIP",
}


@asynccontextmanager
async def relay(answer: bytes) -> AsyncIterator[tuple[str, list[str]]]:
    """A relay that answers everything with `answer`; its URL, and the paths that it was asked for."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            asked.append(head.split(b" ")[1].decode())
            if answer == b"SILENCE":
                await asyncio.sleep(30)
            elif answer == b"DRIP":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4000\r\n\r\n")
                while True:
                    writer.write(b" ")
                    await writer.drain()
                    await asyncio.sleep(0.05)
            writer.write(answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()


async def test_no_lie_is_believed_and_a_good_relay_is_heard_among_liars() -> None:
    async with relay(said()) as (good, asked_good):
        for name, lie in LIES.items():
            async with relay(lie(good)) as (bad, asked):
                alone = Relays(QUICKNET, [bad], answer_limit_s=0.4)
                assert await alone.signature(NUMBER) is None, name
                assert asked == [PATH], name  # once, and no redirect is followed
                both = Relays(QUICKNET, [bad, good], answer_limit_s=5)
                async with asyncio.timeout(2):  # no liar delays the others
                    assert await both.signature(NUMBER) == bytes.fromhex(SIGNATURE), name
                await alone.aclose()
                await both.aclose()
        assert len(asked_good) == len(LIES)


async def test_a_relay_that_is_not_there_is_as_one_that_is_silent() -> None:
    relays = Relays(QUICKNET, ["http://127.0.0.1:1", "https://127.0.0.1:1"], answer_limit_s=1)
    assert await relays.signature(NUMBER) is None
    await relays.aclose()
    assert await Relays(QUICKNET, []).signature(NUMBER) is None


async def test_a_draw_waits_through_lies_and_happens_once(open_night: OpenNight) -> None:
    night = await open_night(capacity=2)
    for n in range(5):
        await night.enter(f"u{n}")
    number = (await night.commit()).beacon.round
    await night.shift(-1, -1)
    true = {"round": number, "signature": (BEACON.signature(number, BEACON.chain.round_at(number)) or b"").hex()}
    wrong = (BEACON.signature(number - 1, BEACON.chain.round_at(number)) or b"").hex()

    async def ask(answer: dict[str, object]) -> None:
        async with relay(http(json.dumps(answer).encode())) as (url, _):
            relays = Relays(BEACON.chain, [url], answer_limit_s=1)
            worker = DrawWorker(night.database, Beacons(relays, None), None)
            for _ in range(3):
                await worker.once()
            await relays.aclose()

    await ask({**true, "signature": wrong})
    assert (await night.document()).state == "COMMITTED"
    for _ in range(2):
        await ask(true)
    document = await night.document()
    assert (document.state, document.signature, document.offered_rank) == ("DRAWN", true["signature"], 2)
    assert await night.value("SELECT wave FROM draws") == 1


def test_relays_are_asked_over_https_alone() -> None:
    for wrong in (
        "http://relay.example",
        "relay.example",
        "https://a.example,ftp://b.example",
        "https://",
        "https://[",
    ):
        with pytest.raises(ValueError, match="https"):
            DrawSettings(draw_relays=wrong)
    assert DrawSettings(draw_relays=" https://a.example, https://b.example ").relay_urls() == [
        "https://a.example",
        "https://b.example",
    ]
