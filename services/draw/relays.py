"""Relays of a beacon: they publish rounds. We trust none of them, because a round's signature proves the round.

All are asked at once, and the first signature that verifies is used. A request has limits on time and size, and follows
no redirect. An answer that is not the requested round is ignored.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import httpx
import structlog

from services.draw import metrics
from services.draw.chains import SIGNATURE_BYTES, Chain

ANSWER_LIMIT_BYTES: Final = 4_096
ANSWER_LIMIT_S: Final = 5.0

log = structlog.get_logger(__name__)


class RelayRefused(Exception):
    """The message says what is wrong with an answer."""


class Relays:
    """Asks relays for rounds of one chain."""

    def __init__(
        self,
        chain: Chain,
        urls: Sequence[str],
        *,
        answer_limit_s: float = ANSWER_LIMIT_S,
        trust: ssl.SSLContext | bool = True,
    ) -> None:
        """`urls`: https URLs without a path of the API."""
        self.chain = chain
        self._urls = [url.rstrip("/") for url in urls]
        self._answer_limit_s = answer_limit_s
        self._trust = trust
        self._client: httpx.AsyncClient | None = None

    async def aclose(self) -> None:
        """Close the HTTP client."""
        if self._client is not None:
            await self._client.aclose()

    async def signature(self, number: int) -> bytes | None:
        """The verified signature of a round; None if no relay has it now."""
        if self._client is None:
            self._client = await asyncio.to_thread(self._opened)
        asked = [asyncio.create_task(self._ask(self._client, url, number)) for url in self._urls]
        try:
            for answer in asyncio.as_completed(asked):
                signature = await answer
                if signature is not None:
                    return signature
            return None
        finally:
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def _ask(self, client: httpx.AsyncClient, url: str, number: int) -> bytes | None:
        host = urlsplit(url).hostname
        try:
            async with asyncio.timeout(self._answer_limit_s):
                raw = await self._fetch(client, f"{url}/{self.chain.chain_hash.hex()}/public/{number}")
            signature = read_round(raw, number)
            if not await asyncio.to_thread(self.chain.verifies, number, signature):
                raise RelayRefused("the signature is not the chain's for this round")
        except RelayRefused as refusal:
            metrics.RELAY_ANSWERS("REFUSED").inc()
            log.warning("relay_refused", relay=host, round=number, problem=str(refusal))
            return None
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            metrics.RELAY_ANSWERS("SILENT").inc()
            log.info("relay_silent", relay=host, round=number, error=type(error).__name__)
            return None
        except Exception:  # one relay must not stop the others
            metrics.RELAY_ANSWERS("REFUSED").inc()
            log.exception("relay_failed", relay=host, round=number)
            return None
        metrics.RELAY_ANSWERS("VERIFIED").inc()
        return signature

    async def _fetch(self, client: httpx.AsyncClient, url: str) -> bytes:
        body = b""
        async with client.stream("GET", url) as answer:
            if answer.status_code != httpx.codes.OK:
                raise RelayRefused(f"it answered with {answer.status_code}")
            async for piece in answer.aiter_raw():
                body += piece
                if len(body) > ANSWER_LIMIT_BYTES:
                    raise RelayRefused(f"its answer is longer than {ANSWER_LIMIT_BYTES} bytes")
        return body

    def _opened(self) -> httpx.AsyncClient:
        """Make the client, in a thread: it reads the trusted certificates, which takes a tenth of a second."""
        return httpx.AsyncClient(
            follow_redirects=False,
            timeout=self._answer_limit_s,
            verify=self._trust,
            # A small compressed answer could become huge; the limit is on the bytes that are read.
            headers={"accept": "application/json", "accept-encoding": "identity"},
        )


def read_round(raw: bytes, number: int) -> bytes:
    """The signature in a relay's answer about a round. Raises RelayRefused; nothing is verified yet."""
    try:
        members = json.loads(raw)
    except (ValueError, RecursionError):
        raise RelayRefused("its answer is no JSON") from None
    if not isinstance(members, dict) or type(members.get("round")) is not int or members["round"] != number:
        raise RelayRefused("its answer is not about this round")
    return read_signature(members.get("signature"))


def read_signature(text: object) -> bytes:
    """48 bytes in hexadecimal digits. Raises RelayRefused."""
    if not isinstance(text, str) or len(text) != 2 * SIGNATURE_BYTES:
        raise RelayRefused(f"a signature is {2 * SIGNATURE_BYTES} hexadecimal digits")
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise RelayRefused("the signature is not hexadecimal") from None
