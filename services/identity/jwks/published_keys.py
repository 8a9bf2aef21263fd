"""Keys that another party publishes: a JWK set (RFC 7517) from a file or an https URL, cached and refreshed.

One background task reads the source, and no caller can cancel it. A caller with a known key never waits. A caller with
an unknown `kid`, or a token that no known key signed, waits for a limited time, so that a new key works at once. For
such callers the source is read again only every few seconds. If the source does not answer, the last set stays valid
for a day.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import httpx
import structlog
from prometheus_client import Counter, Gauge

from services.identity.jose import PublicKey, public_key_from_jwk
from services.identity.jwks.key_set import SET_LIMIT_BYTES, KeySet, KeySetUnreadable, ReadKey, read_key_set
from services.server.runtime.background import Loop, running
from services.server.runtime.settings import WrongSetting
from vyris.errors import Retryable

FETCH_LIMIT_S: Final = 3.0
REFRESH_S: Final = 300.0
READ_AGAIN_S: Final = 5.0
STALE_LIMIT_S: Final = 24 * 3600.0
WAITING_LIMIT: Final = 256
"""The most callers that wait for one read; further ones get Retryable at once."""

IGNORED_KEYS: Final = Gauge("vyris_published_keys_ignored", "Unusable keys in the set that was read last", ["owner"])
READS: Final = Counter("vyris_published_key_reads", "Reads of published key sets", ["owner", "outcome"])

log = structlog.get_logger(__name__)

K = TypeVar("K")


class PublishedKeys(Generic[K]):
    """The keys that one owner publishes, found by `kid`."""

    def __init__(
        self, source: str, owner: str, read_key: ReadKey[K], clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        """`source`: a path or an http(s) URL. `owner`: the owner of the keys for messages, such as "the merchant"."""
        self._owner = owner
        self._source = source
        self._read_key = read_key
        self._clock_s = clock_s
        self._set: KeySet[K] = KeySet({})
        self._read_at_s: float | None = None
        self._tried_at_s: float | None = None
        self._last_read_failed = False
        self._reading: asyncio.Task[None] | None = None
        self._waiting = 0
        self._client: httpx.AsyncClient | None = None

    async def aclose(self) -> None:
        """Cancel a running read, and close the HTTP client."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    async def candidates(self, kid: str | None) -> Sequence[K]:
        """The keys that may have signed a token with this `kid`; at most four, none if the name is unknown.

        Raises Retryable if there is no valid set, or if the set could not be read to look for an unknown name.
        """
        found = self._find(kid)
        if found:
            self.refresh_if_due()
            return found
        await self._read_for_caller()
        found = self._find(kid)
        if not found and (self._is_older_than(STALE_LIMIT_S) or self._last_read_failed or self._set.is_unusable):
            raise self._unreadable()
        return found

    async def newer_candidates(self, kid: str | None, tried: Sequence[K]) -> Sequence[K]:
        """The keys that may have signed a token with this `kid`, if none of those `tried` did; at most four.

        A publisher may give a new key the name of the old one, or no name. Raises Retryable if the set that is read now
        does not come.
        """
        await self._read_for_caller()
        return [key for key in self._find(kid) if key not in tried]

    async def once(self) -> None:
        """One round of refreshing, so that a withdrawn key ends although nobody calls."""
        self.refresh_if_due()

    def refresh_if_due(self) -> None:
        """Start to read the set in the background if it is old and no read began within the last seconds."""
        if self._is_older_than(REFRESH_S):
            self._begin_reading()

    async def read(self) -> None:
        """Read the set now. Raises KeySetUnreadable and keeps the old set."""
        self._tried_at_s = self._clock_s()
        self._last_read_failed = True
        try:
            found = read_key_set(await self._read_source(), self._read_key)
        except KeySetUnreadable:
            READS.labels(self._owner, "unreadable").inc()
            raise
        READS.labels(self._owner, "read").inc()
        IGNORED_KEYS.labels(self._owner).set(len(found.ignored))
        if found.ignored and found.ignored != self._set.ignored:
            log.warning("keys_ignored", owner=self._owner, keys=len(found.ignored), reasons=sorted(set(found.ignored)))
        self._set = found
        self._last_read_failed = False
        self._read_at_s = self._clock_s()

    def _find(self, kid: str | None) -> Sequence[K]:
        return () if self._is_older_than(STALE_LIMIT_S) else self._set.candidates(kid)

    def _is_older_than(self, age_s: float) -> bool:
        return self._read_at_s is None or self._clock_s() - self._read_at_s >= age_s

    def _begin_reading(self) -> None:
        """Start a read, one at a time, and at most one every few seconds."""
        if self._reading is not None and not self._reading.done():
            return
        if self._tried_at_s is None or self._clock_s() - self._tried_at_s >= READ_AGAIN_S:
            self._tried_at_s = self._clock_s()
            self._reading = asyncio.create_task(self._read_in_background())

    async def _read_in_background(self) -> None:
        """Log a failure and keep the old set."""
        try:
            await self.read()
        except KeySetUnreadable as failure:
            log.warning("keys_unreadable", owner=self._owner, problem=str(failure))
        except Exception:
            # Only this read failed; the next one may succeed.
            log.exception("keys_unreadable", owner=self._owner)

    async def _read_for_caller(self) -> None:
        """Wait for the running read, or for a new one if it may begin. Raises Retryable if too many callers wait.

        `asyncio.wait` does not cancel the read with its caller, and waits no longer than a read may take.
        """
        self._begin_reading()
        if self._reading is None or self._reading.done():
            return
        if self._waiting >= WAITING_LIMIT:
            raise self._unreadable()
        self._waiting += 1
        try:
            done, _ = await asyncio.wait([self._reading], timeout=FETCH_LIMIT_S + 0.5)
        finally:
            self._waiting -= 1
        if not done:
            raise self._unreadable()

    def _unreadable(self) -> Retryable:
        return Retryable(f"The keys of {self._owner} cannot be read; send the same request again")

    async def _read_source(self) -> bytes:
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
    """Read the keys at a process's start, keep them fresh, and close them at its end.

    A host that does not answer, or publishes no usable key, does not delay the start: callers that need the keys get
    Retryable until they come. `setting`: the name of the setting for messages. Raises WrongSetting for an unreadable
    file, and in production for a URL without TLS.
    """
    is_remote = source.startswith(("http://", "https://"))
    if production and source.startswith("http://"):
        raise WrongSetting(f"{setting} must be an https URL or a file: anyone who forges it can sign for {owner}")
    keys = PublishedKeys(source, owner, read_key)
    try:
        await keys.read()
    except KeySetUnreadable as failure:
        if not is_remote:
            await keys.aclose()
            raise WrongSetting(f"{setting}: {failure}") from None
        log.warning("keys_unreadable", owner=owner, problem=str(failure))
    try:
        async with running([Loop(f"keys of {owner}", run=keys.once, every_s=READ_AGAIN_S)]):
            yield keys
    finally:
        await keys.aclose()


def p256_key(jwk: dict[str, Any]) -> PublicKey | None:
    """Parse a P-256 key, for ES256. Return None for another kind of key. Raises KeyRefused for a broken one."""
    return public_key_from_jwk(jwk) if jwk.get("kty") == "EC" and jwk.get("crv") == "P-256" else None


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(SET_LIMIT_BYTES + 1)


async def _fetch(client: httpx.AsyncClient, url: str) -> bytes:
    """Fetch the body of a 200. Stop reading above the limit."""
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
    """Make the HTTP client.

    Call it in a thread: reading the machine's trusted certificates takes a tenth of a second.
    """
    return httpx.AsyncClient(
        follow_redirects=False,
        timeout=FETCH_LIMIT_S,
        headers={"accept": "application/jwk-set+json, application/json"},
    )
