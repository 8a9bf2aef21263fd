"""A bounded pool of connections to Postgres, and two connections that stay out of it between statements."""

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

from services.data.storage.failures import DatabaseUnreachable
from services.data.storage.settings import Pooler, PostgresSettings

# So many connections stay out of the pool between two statements, because taking one from the pool and returning it was
# a tenth of a lone mint's CPU time. A connection that was idle for long is not used: a firewall or proxy may have
# dropped it.
KEPT_LIMIT: Final = 2
KEPT_S: Final = 60.0
CONNECTION_FAILURES: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
# The default if the URL has no `target_session_attrs` (libpq, 34.1.2). Postgres reports it when a session begins, so
# the check costs no round trip.
WRITABLE: Final = "read-write"
ANY: Final = "any"
PREPARED_LIMIT: Final = 100  # statements of one session
KEEPALIVE_IDLE_S: Final = 5
KEEPALIVE_INTERVAL_S: Final = 1
# Generic only for the type checker.
Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"


class Connections:
    """Connections that are taken and given back; each is opened when it is first needed."""

    def __init__(self, settings: PostgresSettings, application_name: str) -> None:
        """Open no connection yet, so that a service starts while Postgres is down."""
        self._connect_timeout_s = settings.postgres_connect_timeout_ms / 1000
        self._kept: list[tuple[Connection, float]] = []  # with the time of their return
        self._taken: set[Connection] = set()  # without those that were taken before the last `expire`
        self._unclaimed: list[tuple[Any, float]] = []  # opened for callers that hung up, with the time
        self._waiting = 0
        self._is_closing = False
        # Behind a pooler each transaction may have another session: statements are not prepared for later, and the
        # pooler sets the session's limits (`Database.holds` checks them).
        is_pooled = settings.postgres_pooler is Pooler.TRANSACTION
        self._pool: asyncpg.Pool[asyncpg.Record] = asyncpg.create_pool(
            settings.database_url,
            min_size=0,
            max_size=settings.postgres_pool_size,
            max_inactive_connection_lifetime=KEPT_S,
            connect=self._open_session,
            target_session_attrs=_wanted_server(settings),
            timeout=self._connect_timeout_s,
            command_timeout=None,  # would cancel a COMMIT
            reset=_keep_session,
            server_settings={"application_name": application_name, **({} if is_pooled else settings.session)},
            statement_cache_size=0 if is_pooled else PREPARED_LIMIT,
        )

    async def open(self) -> None:
        """Initialise the pool."""
        await self._pool

    async def close(self, limit_s: float) -> None:
        """Close all connections, by force after `limit_s`."""
        self._is_closing = True
        self._discard_unclaimed()
        while self._kept:
            await self._return(self._kept.pop()[0])
        try:
            await asyncio.wait_for(self._pool.close(), limit_s)
        except TimeoutError:
            self._pool.terminate()

    async def take(self) -> Connection:
        """Take a connection for exclusive use. Raises DatabaseUnreachable."""
        connection = await self._live_connection()
        self._taken.add(connection)
        return connection

    async def give_back(self, connection: Connection) -> None:
        """Return a connection. One that was terminated or has expired is replaced."""
        may_be_kept = connection in self._taken and not self._waiting and not self._is_closing
        self._taken.discard(connection)
        if may_be_kept and _lives(connection) and len(self._kept) < KEPT_LIMIT:
            self._kept.append((connection, time.monotonic()))
        else:
            await self._return(connection)

    async def expire(self) -> None:
        """Replace every open connection: those in use when they are given back, all others before their next use."""
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
            # Opening a connection has this limit anyway. With an idle connection there is no wait, so avoid the task
            # for it.
            timeout_s = None if self._pool.get_idle_size() else self._connect_timeout_s
            return await self._pool.acquire(timeout=timeout_s)
        except CONNECTION_FAILURES as error:
            raise DatabaseUnreachable(_why_unreachable(error)) from error
        finally:
            self._waiting -= 1

    async def _open_session(self, *args: Any, **kwargs: Any) -> Any:
        """Open a connection for the pool, or take one that was opened for a caller that hung up.

        A cancelled caller waits until its connection is open. Otherwise the pool would give the place to the next
        caller at once, and with thousands of callers that hang up, Postgres would have many more sessions than the
        pool.
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
        """Keep an opened connection for the next caller."""
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
        """Make the kernel close a connection if its other end does not acknowledge any more (Linux; tcp(7))."""
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
        # asyncpg shields this. The pool replaces a terminated connection. The statement's result stays valid, even if
        # the connection has just been lost and its place in the pool is free already.
        with suppress(*CONNECTION_FAILURES):
            await self._pool.release(connection, timeout=self._connect_timeout_s)


def discard(connection: Connection) -> None:
    """Close a connection at once. Its user must still give it back."""
    with suppress(asyncpg.InterfaceError):  # it was lost, and the pool has taken it back
        connection.terminate()


def _wanted_server(settings: PostgresSettings) -> SessionAttribute:
    # A pooler reports what its first session saw, perhaps before a switch-over. `Database.holds` asks the server.
    default = WRITABLE if settings.postgres_pooler is Pooler.NONE else ANY
    return SessionAttribute(parse_qs(urlsplit(settings.database_url).query).get("target_session_attrs", [default])[-1])


def _why_unreachable(error: BaseException) -> str:
    if isinstance(error, asyncpg.ProtocolViolationError) and "startup parameter" in str(error):
        return (
            "DATABASE_URL leads to a pooler that refuses the settings of a session: set POSTGRES_POOLER=transaction "
            "and let the pooler set them (docs/operations.md, PgBouncer)"
        )
    return f"no connection: {type(error).__name__}"


def _lives(connection: Connection) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        return False  # it was lost, and the pool has taken it back


async def _keep_session(_: Any) -> None:
    """Skip the round trip of a session reset, because our statements never change the session."""
