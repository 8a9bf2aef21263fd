"""The bouncer: one number for each drop in Redis, the count of slots that are still for sale.

It sheds load and decides nothing. If a count is too high, Postgres refuses a few claims. If it is too low, the recount
corrects it, and no caller gets SOLD_OUT before Postgres has confirmed it. If Redis fails in any way, the answer is
None: then Postgres decides alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar, cast

import structlog
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings
from redis.asyncio import Redis, RedisCluster, SSLConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import MasterDownError, ReadOnlyError, RedisClusterException, RedisError

from services.mint import metrics
from services.server import tracing

T = TypeVar("T")
log = structlog.get_logger(__name__)

Client = Redis | RedisCluster


class BouncerSettings(BaseSettings):
    """How a process uses Redis."""

    redis_url: str = Field(description="URL of the Redis or Valkey server that holds the bouncer's counts")
    redis_cluster: bool = Field(False, description="whether REDIS_URL names a node of a cluster")
    redis_timeout_ms: int = Field(250, ge=5, le=5_000, description="time for one call to Redis")
    redis_pause_ms: int = Field(1_000, ge=10, le=60_000, description="time without Redis after it failed")

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: str) -> str:
        if not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        try:
            parse_url(value)
        except (ValueError, TypeError):
            raise ValueError("must be redis://user:password@host:port/number") from None
        return value


class RenewedTlsConnection(SSLConnection):
    """Reads its certificates at every connection, because they are renewed while the process runs."""

    async def _connect(self) -> None:
        self.ssl_context.context = None
        await super()._connect()  # type: ignore[no-untyped-call]


def redis_client(settings: BouncerSettings) -> Client:
    """Make a client that fails fast and never retries: minting goes on without Redis."""
    timeout_s = settings.redis_timeout_ms / 1000
    no_retry = Retry(NoBackoff(), 0)
    if settings.redis_cluster:
        return RedisCluster.from_url(
            settings.redis_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=no_retry
        )
    # One connection, without the library's time limit. With a pool and that limit, which is a separate task, a call was
    # sent only in the event loop's third turn, after all answers of the last batch. `Bouncer` limits the time.
    client = Redis.from_url(
        settings.redis_url,
        socket_timeout=None,
        socket_connect_timeout=timeout_s,
        retry=no_retry,
        # These end the connection, and nothing more. A primary that became a replica may keep its connections open, and
        # the next one finds the server that REDIS_URL names now.
        retry_on_error=[ReadOnlyError, MasterDownError],
        single_connection_client=True,
    )
    if client.connection_pool.connection_class is SSLConnection:
        client.connection_pool.connection_class = RenewedTlsConnection
    return client


def count_key(tier: str, year: str, environment: str) -> str:
    """The Redis key of a drop's count; the hash tag keeps all keys of a drop in one slot of a cluster."""
    suffix = "" if environment == "production" else f":{environment}"
    return f"{{drop:{tier}:{year}{suffix}}}"


def lua_script(name: str) -> str:
    """Read a script of this folder, with the function that all share before it."""
    folder = Path(__file__).parent
    return "".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("whole_count", name))


class Bouncer:
    """Counts slots in and out, behind a circuit breaker."""

    def __init__(self, client: Client, settings: BouncerSettings) -> None:
        self._client = client
        self._pause_s = settings.redis_pause_ms / 1000
        # A cluster's client asks several nodes, and has its own limit for each.
        self._limit_s = None if settings.redis_cluster else settings.redis_timeout_ms / 1000
        self._closed_until_s = 0.0
        self._running = 0
        self._nothing_runs = asyncio.Event()
        self._nothing_runs.set()
        self._take = client.register_script(lua_script("take_slots"))
        self._write = client.register_script(lua_script("write_count"))
        self._give_back = client.register_script(lua_script("give_back_slots"))

    async def take(self, key: str, wanted: int) -> int | None:
        """Take up to `wanted` slots. Return how many were granted, or None if the bouncer does not know."""
        granted = await self._call(lambda: cast("Awaitable[int]", self._take(keys=[key], args=[wanted])))
        if granted is None or granted < 0:
            metrics.BOUNCER_BYPASSES.labels("unreachable" if granted is None else "unknown").inc()
            return None
        return granted

    async def give_back(self, key: str, unused: int) -> None:
        """Return unused slots. If that fails, the recount corrects the count."""
        if unused > 0:
            await self._call(lambda: cast("Awaitable[int]", self._give_back(keys=[key], args=[unused])))

    async def write(self, key: str, remaining: int) -> int | None:
        """Overwrite a count by Postgres'. Return the count before; None if there was none, or Redis does not answer."""
        return _whole(
            await self._call(lambda: cast("Awaitable[bytes | None]", self._write(keys=[key], args=[remaining])))
        )

    async def read(self, key: str) -> int | None:
        """The count; None if it is missing or no number, or Redis does not answer."""
        value = await self._call(lambda: cast("Awaitable[bytes | None]", self._client.get(key)))
        return _whole(value)

    async def reachable(self) -> bool:
        """Whether Redis answers."""
        return await self._call(self._client.ping) is not None

    async def close(self) -> None:
        """Close the connections after the running calls have ended. Later calls find no Redis.

        A call during or after the client's own `aclose` would open a connection that nothing closes.
        """
        self._closed_until_s = float("inf")
        await self._nothing_runs.wait()
        await self._client.aclose()

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Call Redis. Return None on any failure, and at once for a while after one: a dead Redis costs no time."""
        if time.monotonic() < self._closed_until_s:
            return None
        self._running += 1
        self._nothing_runs.clear()
        try:
            with tracing.step_span("redis", "redis"):
                async with asyncio.timeout(self._limit_s):
                    answer = await call()
        # If no node of a cluster answers, the library raises an exception that is no RedisError.
        except (RedisError, RedisClusterException, OSError, ValueError, TimeoutError) as error:
            self._closed_until_s = max(self._closed_until_s, time.monotonic() + self._pause_s)
            metrics.BOUNCER_UP.set(0)
            log.warning("bouncer_unreachable", error=type(error).__name__)
            return None
        finally:
            self._running -= 1
            if not self._running:
                self._nothing_runs.set()
        metrics.BOUNCER_UP.set(1)
        return answer


def _whole(count: bytes | None) -> int | None:
    """Parse a count; None if it is not a whole number."""
    try:
        return None if count is None else int(count)
    except ValueError:
        return None
