"""Keys that somebody else publishes: a JWK set (RFC 7517) from a file or an https URL, kept for a while.

A set that was read once goes on serving while its source is away, up to a limit. An
unknown `kid` has it read again at once, so that a new key works without a wait, but not
more often than every few seconds, whoever asks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import httpx
import structlog

from services.jose import KeyRefused, NotStrict, PublicKey, kid_of, public_key_from_jwk, read_object
from services.runtime.settings import WrongSetting
from vyris.errors import Retryable

SET_LIMIT_BYTES: Final = 65_536
KEYS_LIMIT: Final = 32
FETCH_LIMIT_S: Final = 3.0
REFRESH_S: Final = 300.0
READ_AGAIN_S: Final = 5.0
STALE_LIMIT_S: Final = 24 * 3600.0

log = structlog.get_logger(__name__)


class KeySetUnreadable(Exception):
    """The message says what is wrong with the set or its source."""


K = TypeVar("K")
# Turns a JWK into a key, or None for one of a kind that is passed over. Raises KeyRefused for one that is broken.
ReadKey = Callable[[dict[str, Any]], K | None]
# Keys by kid; None for one that has none.
KeySet = dict[str | None, K]


class PublishedKeys(Generic[K]):
    """Keys by `kid`, as their owner publishes them."""

    def __init__(
        self, source: str, owner: str, read_key: ReadKey[K], clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        """`source` is a path or an http(s) URL; `owner` says whose keys they are, as in "the merchant"."""
        self._owner = owner
        self._source = source
        self._read_key = read_key
        self._clock_s = clock_s
        self._keys: KeySet[K] = {}
        self._read_at_s: float | None = None
        self._tried_at_s: float | None = None
        self._last_read_failed = False
        self._reading = asyncio.Lock()
        self._client: httpx.AsyncClient | None = None

    async def aclose(self) -> None:
        """Close what was opened to read the set."""
        if self._client is not None:
            await self._client.aclose()

    async def key(self, kid: str | None) -> K | None:
        """The key of that name, the only key where none is named, else None.

        Raises Retryable without any set, and where a name that is not in the set could not be looked for anew.
        """
        if self._older_than(REFRESH_S) or self._find(kid) is None:
            await self._read_again()
        found = self._find(kid)
        if self._older_than(STALE_LIMIT_S) or (found is None and self._last_read_failed):
            raise Retryable(f"The keys of {self._owner} cannot be read; send the same request again")
        return found

    async def read_at_start(self) -> None:
        """Read the set. One that lies on a host may be away for a moment; raises KeySetUnreadable for a bad file."""
        try:
            await self.read()
        except KeySetUnreadable as failure:
            if not self._source.startswith(("http://", "https://")):
                raise
            log.warning("keys_unreadable", owner=self._owner, problem=str(failure))

    async def read(self) -> None:
        """Read the set now. Raises KeySetUnreadable."""
        self._last_read_failed = True
        self._keys = key_set(await self._fetched(), self._read_key)
        self._last_read_failed = False
        self._read_at_s = self._clock_s()

    def _find(self, kid: str | None) -> K | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    def _older_than(self, age_s: float) -> bool:
        return self._read_at_s is None or self._clock_s() - self._read_at_s >= age_s

    async def _read_again(self) -> None:
        """At most every few seconds, one at a time; a failure leaves the set as it was."""
        async with self._reading:
            if self._tried_at_s is not None and self._clock_s() - self._tried_at_s < READ_AGAIN_S:
                return
            self._tried_at_s = self._clock_s()
            try:
                await self.read()
            except KeySetUnreadable as failure:
                log.warning("keys_unreadable", owner=self._owner, problem=str(failure))

    async def _fetched(self) -> bytes:
        if self._source.startswith(("https://", "http://")):
            if self._client is None:
                self._client = await asyncio.to_thread(_client)
            return await _fetch(self._client, self._source)
        try:
            return await asyncio.to_thread(_read_file, Path(self._source))
        except OSError as error:
            raise KeySetUnreadable(f"the file cannot be read ({error.strerror})") from None


@asynccontextmanager
async def opened_keys(
    setting: str, source: str, owner: str, read_key: ReadKey[K], *, production: bool
) -> AsyncIterator[PublishedKeys[K]]:
    """The keys that a process reads at its start, closed at its end.

    `setting` names where `source` was set. Raises WrongSetting for a set that cannot be read; in production also for
    one that comes without protection.
    """
    if production and source.startswith("http://"):
        raise WrongSetting(f"{setting} must be an https URL or a file: whoever forges it speaks for {owner}")
    async with aclosing(PublishedKeys(source, owner, read_key)) as keys:
        try:
            await keys.read_at_start()
        except KeySetUnreadable as failure:
            raise WrongSetting(f"{setting}: {failure}") from None
        yield keys


def key_set(raw: bytes, read_key: ReadKey[K]) -> KeySet[K]:
    """The keys of a JWK set that `read_key` takes; others are passed over. Raises KeySetUnreadable."""
    if len(raw) > SET_LIMIT_BYTES:
        raise KeySetUnreadable(f"the set is larger than {SET_LIMIT_BYTES} bytes")
    try:
        members = read_object(raw)
    except NotStrict as refusal:
        raise KeySetUnreadable(f"the set {refusal}") from None
    listed = members.get("keys")
    if not isinstance(listed, list) or len(listed) > KEYS_LIMIT:
        raise KeySetUnreadable(f"the set does not list at most {KEYS_LIMIT} keys")
    keys: KeySet[K] = {}
    for jwk in listed:
        named = _named_key(jwk, read_key) if isinstance(jwk, dict) and jwk.get("use", "sig") == "sig" else None
        if named is None:
            continue
        kid, key = named
        if kid in keys:
            raise KeySetUnreadable("two keys of the set have the same kid, or none")
        keys[kid] = key
    if not keys:
        raise KeySetUnreadable("the set holds no key for signatures of a kind that is accepted here")
    return keys


def p256_key(jwk: dict[str, Any]) -> PublicKey | None:
    """A P-256 key, which signs with ES256; None for any other. Raises KeyRefused."""
    return public_key_from_jwk(jwk) if jwk.get("kty") == "EC" and jwk.get("crv") == "P-256" else None


def _named_key(jwk: dict[str, Any], read_key: ReadKey[K]) -> tuple[str | None, K] | None:
    try:
        key = read_key(jwk)
        return None if key is None else (kid_of(jwk), key)
    except KeyRefused as refusal:
        raise KeySetUnreadable(refusal.message) from None


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(SET_LIMIT_BYTES + 1)


async def _fetch(client: httpx.AsyncClient, url: str) -> bytes:
    """The body of a 200, at most little more than the limit."""
    body = b""
    try:
        async with asyncio.timeout(FETCH_LIMIT_S), client.stream("GET", url) as answer:
            if answer.status_code != httpx.codes.OK:
                raise KeySetUnreadable(f"the address answered with {answer.status_code}")
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > SET_LIMIT_BYTES:
                    break
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
        raise KeySetUnreadable(f"the address does not answer ({type(error).__name__})") from None
    return body


def _client() -> httpx.AsyncClient:
    """Reads the machine's trusted certificates, which takes a tenth of a second: for a thread."""
    return httpx.AsyncClient(
        follow_redirects=False,
        timeout=FETCH_LIMIT_S,
        headers={"accept": "application/jwk-set+json, application/json"},
    )
