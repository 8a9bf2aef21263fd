"""Statements and transactions, each within a time limit.

The limits: lock < statement < transaction on the server = call on this side. A call that exceeds its limit is abandoned
by closing its connection, never by a cancel request: if a COMMIT that waits for a synchronous standby is cancelled,
Postgres commits locally, and the caller would not know.

A cancelled caller leaves. Its statement ends by itself within the same limits, and only then the connection is free.
Closing the connection would leave its session on the server, in addition to the one that replaces it.

A connection can answer and still be unusable: its server became a standby, its role lost a right, the schema changed.
So a connection is kept after an error only if the error is about data, locks or time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import asyncpg
import structlog
from prometheus_client import Gauge

from services.data.storage.connections import Connection, Connections, discard
from services.data.storage.failures import DatabaseFailed, DatabaseUnavailable, DataRejected
from services.data.storage.queries import statement_name
from services.data.storage.settings import PostgresSettings
from services.server import tracing

log = structlog.get_logger(__name__)
T = TypeVar("T")
LONG_TRANSACTION_S: Final = 600.0
# Shorter than the time between two health checks (`process.py` of the runtime), so that one ends before the next.
LOOK_LIMIT_S: Final = 0.7
# The server's own limits are shorter than ours. So after this many calls in a row without an answer all connections are
# replaced: the server is gone, or a firewall or proxy has dropped them.
SILENCES_LIMIT: Final = 2
# Errors that keep the connection (classes of SQLSTATE: PostgreSQL's manual, appendix A): data, constraints, conflicts,
# resources, limits, refusals by our own functions; and a statement's time limit.
HARMLESS_CLASSES: Final = frozenset({"21", "22", "23", "40", "53", "54", "55", "P0"})
STATEMENT_TIMED_OUT: Final = "57014"
CLOCK_AHEAD: Final = Gauge(
    "vyris_clock_ahead_seconds", "How far this process' clock is ahead of Postgres'; off by half the way there and back"
)
READ_ONLY: Final = "25006"  # a standby, a primary that was demoted, default_transaction_read_only
LOOK: Final = """
SELECT extract(epoch FROM clock_timestamp())::float8 AS clock_s,
       current_setting('transaction_read_only') = 'off' AS is_writable,
       to_regclass($1) IS NOT NULL AS is_there,
       has_table_privilege(to_regclass($1), 'INSERT') IS TRUE AS is_granted,
       ARRAY(
           SELECT name FROM unnest($2::text[], $3::text[]) AS wanted (name, value)
           WHERE CASE WHEN name LIKE '%timeout' THEN current_setting(name)::interval <> (value || 'ms')::interval
                      ELSE current_setting(name) <> value END
       ) AS not_in_force
"""


class Database:
    """A service's access to Postgres.

    For errors of Postgres every method raises DatabaseUnavailable or DataRejected, and no other class.
    """

    def __init__(self, connections: Connections, call_timeout_s: float, session: Mapping[str, str]) -> None:
        self._connections = connections
        self._call_timeout_s = call_timeout_s
        self._session = session
        self._silences = 0
        self._last_problem = ""  # of the checks, which come every second
        self._abandoned: set[asyncio.Task[None]] = set()  # the event loop holds tasks weakly

    @classmethod
    def open(cls, settings: PostgresSettings, application_name: str) -> Database:
        """Make a database from settings. Enter it before its first use."""
        return cls(Connections(settings, application_name), settings.postgres_call_timeout_ms / 1000, settings.session)

    async def __aenter__(self) -> Database:
        """Initialise the pool. Opens no connection yet."""
        await self._connections.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the connections, by force after the call limit; at once if the process is interrupted."""
        interrupted = kind is not None and issubclass(kind, asyncio.CancelledError)
        await self._connections.close(0 if interrupted else self._call_timeout_s)

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        """Run one statement as its own transaction. Return its rows."""
        return await self._call(lambda connection: connection.fetch(query, *args), statement=query)

    async def fetchrow(self, query: str, *args: object) -> asyncpg.Record | None:
        """Run one statement as its own transaction. Return its first row, or None."""
        return await self._call(lambda connection: connection.fetchrow(query, *args), statement=query)

    async def execute(self, query: str, *args: object) -> str:
        """Run one statement as its own transaction. Return its command tag."""
        return await self._call(lambda connection: connection.execute(query, *args), statement=query)

    async def holds(self, table: str) -> bool:
        """Whether Postgres accepts writes, has this table, and lets this role insert into it, within our limits.

        The limits are missing if a pooler did not pass them on. If anything is missing, all connections are replaced,
        because the next check may reach another server or see other rights.
        """
        names, values = list(self._session), list(self._session.values())
        asked_at_s = time.time()
        try:
            row = await self._call(lambda connection: connection.fetchrow(LOOK, table, names, values), LOOK_LIMIT_S)
        except DatabaseUnavailable as problem:
            if problem.cause != self._last_problem:
                log.warning("database_does_not_answer", table=table, cause=problem.cause)
            self._last_problem = problem.cause
            return False
        self._last_problem = ""
        facts: dict[str, Any] = dict(row) if row else {"answer": False}
        if "clock_s" in facts:
            CLOCK_AHEAD.set((asked_at_s + time.time()) / 2 - facts.pop("clock_s"))
        not_in_force = facts.pop("not_in_force", [])
        missing = [fact for fact, holds in facts.items() if not holds]
        if missing or not_in_force:
            log.warning("database_cannot_serve", table=table, missing=missing, not_in_force=not_in_force)
            await self._connections.expire()
        return not missing and not not_in_force

    async def in_transaction(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work(connection)` in one READ COMMITTED transaction; it commits when `work` returns."""
        return await self._call(lambda connection: _transaction(connection, work))

    async def in_long_transaction(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Like `in_transaction`, for work over millions of rows: minutes instead of seconds."""

        async def run(connection: Connection) -> T:
            await connection.execute("SET LOCAL transaction_timeout = 0")  # a running one cannot be extended
            limit_ms = int(LONG_TRANSACTION_S * 1000)
            for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
                await connection.execute(f"SET LOCAL {limit} = {limit_ms}")
            return await work(connection)

        with tracing.step_span("postgres", "postgresql", ""):
            connection = await self._connections.take()
            working = asyncio.ensure_future(_transaction(connection, run))
            try:
                await _wait_for(working, LONG_TRANSACTION_S)
            except asyncio.CancelledError:
                # An operator who interrupts minutes of work wants to end it at once.
                _abandon(connection, working)
                await self._connections.give_back(connection)
                raise
            return await self._outcome(connection, working)

    async def _call(
        self, work: Callable[[Connection], Awaitable[T]], timeout_s: float | None = None, statement: str = ""
    ) -> T:
        with tracing.step_span("postgres", "postgresql", statement_name(statement)):
            return await self._run_timed(work, timeout_s or self._call_timeout_s)

    async def _run_timed(self, work: Callable[[Connection], Awaitable[T]], timeout_s: float) -> T:
        connection = await self._connections.take()
        working = asyncio.ensure_future(work(connection))
        until_s = time.monotonic() + timeout_s
        try:
            await _wait_for(working, timeout_s)
        except asyncio.CancelledError:
            abandoned = asyncio.create_task(self._finish_abandoned(connection, working, until_s))
            self._abandoned.add(abandoned)
            abandoned.add_done_callback(self._abandoned.discard)
            raise
        return await self._outcome(connection, working)

    async def _finish_abandoned(self, connection: Connection, working: asyncio.Future[Any], until_s: float) -> None:
        """Finish a call like `_run_timed`, for a caller that has left."""
        try:
            await _wait_for(working, until_s - time.monotonic())
            await self._outcome(connection, working)
        except Exception as error:
            log.info("nobody_waited", problem=str(error) if isinstance(error, DatabaseFailed) else type(error).__name__)

    async def _outcome(self, connection: Connection, working: asyncio.Future[T]) -> T:
        """Return or raise the result of `working` once its time is over, and give the connection back."""
        try:
            if not working.done():
                _abandon(connection, working)
                self._silences += 1
                if self._silences >= SILENCES_LIMIT:
                    await self._connections.expire()
                raise DatabaseUnavailable("no answer within the time limit")
            self._silences = 0
            await self._judge(connection, working.exception())
            return _result(working)
        finally:
            await self._connections.give_back(connection)

    async def _judge(self, connection: Connection, error: BaseException | None) -> None:
        """Close a connection that would no longer work."""
        if isinstance(error, asyncpg.InternalClientError):
            discard(connection)
        elif isinstance(error, asyncpg.PostgresError) and not _is_harmless(error):
            log.warning("connection_replaced", cause=f"SQLSTATE {error.sqlstate}")
            discard(connection)
            if error.sqlstate == READ_ONLY:
                await self._connections.expire()


async def _wait_for(running: asyncio.Future[Any], timeout_s: float) -> None:
    """Wait until `running` is done or the time is over. If the caller is cancelled, `running` goes on.

    Like `asyncio.wait` for one future, at a third of its cost; each batch pays for it twice.
    """
    loop = asyncio.get_running_loop()
    over = loop.create_future()

    def end(_: object = None) -> None:
        if not over.done():
            over.set_result(None)

    running.add_done_callback(end)
    expiry = loop.call_later(timeout_s, end)
    try:
        await over
    finally:
        expiry.cancel()


async def _transaction(connection: Connection, work: Callable[[Connection], Awaitable[T]]) -> T:
    async with connection.transaction():
        return await work(connection)


def _is_harmless(error: asyncpg.PostgresError) -> bool:
    sqlstate = error.sqlstate or ""
    return sqlstate[:2] in HARMLESS_CLASSES or sqlstate == STATEMENT_TIMED_OUT


def _abandon(connection: Connection, running: asyncio.Future[Any]) -> None:
    discard(connection)
    running.add_done_callback(lambda finished: finished.cancelled() or finished.exception())


def _result(finished: asyncio.Future[T]) -> T:
    try:
        return finished.result()
    except asyncpg.PostgresError as error:
        if (error.sqlstate or "")[:2] in {"22", "23"}:
            raise DataRejected(f"SQLSTATE {error.sqlstate}") from None  # its text contains the data
        raise DatabaseUnavailable(f"SQLSTATE {error.sqlstate}") from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        # InternalClientError: the server ended an idle session, and asyncpg is still reading that.
        raise DatabaseUnavailable(type(error).__name__) from error
