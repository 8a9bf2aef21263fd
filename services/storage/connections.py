"""A bounded pool of connections to Postgres, and two that stay out of it between statements."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute
from asyncpg.pool import PoolConnectionProxy

from services.storage.failures import DatabaseUnreachable
from services.storage.settings import PostgresSettings

# So many connections stay out of the pool between two statements: to take one from it and to return it was a
# tenth of a lone mint's processor time. One that lay idle for long is not trusted: what stands between may have
# forgotten it.
KEPT_LIMIT: Final = 2
KEPT_S: Final = 60.0
CONNECTION_FAILURES: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
# Used where the URL names no `target_session_attrs` (libpq, 34.1.2). Postgres reports what it asks for when a session
# begins, so the check costs no round trip.
WRITABLE: Final = "read-write"
KEEPALIVE_IDLE_S: Final = 5
KEEPALIVE_INTERVAL_S: Final = 1
# Generic for the type checker alone.
Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"


class Connections:
    """Connections that are taken and given back; each is opened when it is first needed."""

    def __init__(self, settings: PostgresSettings, application_name: str) -> None:
        """Opens none yet, so that a service starts while Postgres is away."""
        self._connect_timeout_s = settings.postgres_connect_timeout_ms / 1000
        self._kept: list[tuple[Connection, float]] = []  # and since when
        self._taken: set[Connection] = set()  # without those that were taken before the last `expire`
        self._unclaimed: list[tuple[Any, float]] = []  # opened for callers who hung up, and since when
        self._waiting = 0
        self._is_closing = False
        self._pool: asyncpg.Pool[asyncpg.Record] = asyncpg.create_pool(
            settings.database_url,
            min_size=0,
            max_size=settings.postgres_pool_size,
            max_inactive_connection_lifetime=KEPT_S,
            connect=self._open_session,
            target_session_attrs=_wanted_server(settings.database_url),
            timeout=self._connect_timeout_s,
            command_timeout=None,  # would cancel a COMMIT
            reset=_keep_session,
            server_settings={
                "application_name": application_name,
                "lock_timeout": str(settings.postgres_lock_timeout_ms),
                "statement_timeout": str(settings.postgres_statement_timeout_ms),
                "idle_in_transaction_session_timeout": str(settings.postgres_call_timeout_ms),
                "transaction_timeout": str(settings.postgres_call_timeout_ms),
                "jit": "off",
                # A plan is made while a drop's tables are small and kept while they grow to millions of rows.
                "enable_seqscan": "off",
                # Batches are small. The planner takes a LIMIT that it does not know for a tenth of the table, and would
                # sort for a merge what a hash of a few rows joins at once.
                "enable_mergejoin": "off",
            },
        )

    async def open(self) -> None:
        """Initialise the pool."""
        await self._pool

    async def close(self, limit_s: float) -> None:
        """Close all, by force after `limit_s`."""
        self._is_closing = True
        self._discard_unclaimed()
        while self._kept:
            await self._return(self._kept.pop()[0])
        try:
            await asyncio.wait_for(self._pool.close(), limit_s)
        except TimeoutError:
            self._pool.terminate()

    async def take(self) -> Connection:
        """Take a connection that nobody else uses. Raises DatabaseUnreachable."""
        connection = await self._live_connection()
        self._taken.add(connection)
        return connection

    async def give_back(self, connection: Connection) -> None:
        """Let others have it; one that was terminated or has expired is replaced."""
        may_be_kept = connection in self._taken and not self._waiting and not self._is_closing
        self._taken.discard(connection)
        if may_be_kept and _lives(connection) and len(self._kept) < KEPT_LIMIT:
            self._kept.append((connection, time.monotonic()))
        else:
            await self._return(connection)

    async def expire(self) -> None:
        """Replace every connection that is open now: those in use when they are given back, all others before use."""
        self._taken.clear()
        self._discard_unclaimed()
        await self._pool.expire_connections()
        while self._kept:
            connection = self._kept.pop()[0]
            discard(connection)
            await self._return(connection)

    async def _live_connection(self) -> Connection:
        while self._kept:
            connection, since_s = self._kept.pop()
            if _lives(connection):
                if time.monotonic() - since_s < KEPT_S:
                    return connection
                connection.terminate()
            await self._return(connection)
        self._waiting += 1
        try:
            # Opening a connection has this limit in any case; where one is idle there is no wait, and no task for it.
            timeout_s = None if self._pool.get_idle_size() else self._connect_timeout_s
            return await self._pool.acquire(timeout=timeout_s)
        except CONNECTION_FAILURES as error:
            raise DatabaseUnreachable(f"no connection: {type(error).__name__}") from error
        finally:
            self._waiting -= 1

    async def _open_session(self, *args: Any, **kwargs: Any) -> Any:
        """Open a connection for the pool, or take one that a caller did not wait for.

        A caller who is cancelled waits for the end of it. The pool gives the place to the next caller as soon as this
        one leaves: with thousands of callers who hang up, Postgres would have many more sessions than the pool.
        """
        while self._unclaimed:
            connection, since_s = self._unclaimed.pop()
            if not connection.is_closed() and time.monotonic() - since_s < KEPT_S:
                return connection
            connection.terminate()
        opening = asyncio.ensure_future(asyncpg.connect(*args, **kwargs))
        opening.add_done_callback(self._detect_silence)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._save)
            await asyncio.wait([opening])
            raise

    def _save(self, opening: asyncio.Future[Any]) -> None:
        """Save an opened connection for the next caller."""
        if opening.cancelled() or opening.exception() is not None:
            return
        if self._is_closing:
            opening.result().terminate()
        else:
            self._unclaimed.append((opening.result(), time.monotonic()))

    def _discard_unclaimed(self) -> None:
        while self._unclaimed:
            self._unclaimed.pop()[0].terminate()

    def _detect_silence(self, opening: asyncio.Future[Any]) -> None:
        """Have the kernel end a connection whose other end is gone without a word (Linux; tcp(7))."""
        if opening.cancelled() or opening.exception() is not None:
            return
        own: socket.socket | None = opening.result()._transport.get_extra_info("socket")
        if own is None or own.family == socket.AF_UNIX or not hasattr(socket, "TCP_USER_TIMEOUT"):
            return
        limit_ms = int(self._connect_timeout_s * 1000)
        with suppress(OSError):  # it was lost just now
            own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit_ms)

    async def _return(self, connection: Connection) -> None:
        # Shielded by asyncpg; a connection that was terminated is replaced by the pool. What it answered
        # stands, also where it was lost just now and its place in the pool is free already.
        with suppress(*CONNECTION_FAILURES):
            await self._pool.release(connection, timeout=self._connect_timeout_s)


def discard(connection: Connection) -> None:
    """Close a connection at once. Its holder still gives it back."""
    with suppress(asyncpg.InterfaceError):  # it was lost, and the pool has taken it back
        connection.terminate()


def _wanted_server(url: str) -> SessionAttribute:
    return SessionAttribute(parse_qs(urlsplit(url).query).get("target_session_attrs", [WRITABLE])[-1])


def _lives(connection: Connection) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        return False  # it was lost, and the pool has taken it back


async def _keep_session(_: Any) -> None:
    """Spare the round trip of a session reset: no statement of ours changes the session."""
