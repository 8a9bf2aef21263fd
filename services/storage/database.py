"""Statements and transactions, each within a time limit.

Limits, each inside the next: lock < statement < transaction on the server, as long as a
call on this side. A call that passes its limit is abandoned by closing its connection,
never by a cancel request: Postgres answers a cancelled COMMIT that waits for a
synchronous standby by committing locally, and the caller would not know.

A caller who is cancelled leaves; what was begun ends by itself within the same limits, and only then is the connection
free. Closing it would leave its session behind on the server, beside the one that replaces it.

A connection that answers can still be unable to do its work: its server became a standby, its role lost a right, the
schema moved. So an error keeps its connection only where it speaks of data, locks or time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import asyncpg
import structlog

from services import tracing
from services.storage.connections import Connection, Connections, discard
from services.storage.failures import DatabaseFailed, DatabaseUnavailable, DataRejected
from services.storage.queries import statement_name
from services.storage.settings import PostgresSettings

log = structlog.get_logger(__name__)
T = TypeVar("T")
LONG_TRANSACTION_S: Final = 600.0
# Shorter than the time between two looks (services/runtime/process.py), so that a look ends what hangs itself.
LOOK_LIMIT_S: Final = 0.7
# The server's own limits are shorter than ours. So after this many calls in a row without an answer no connection is
# trusted: the server is gone, or what stands between has forgotten us.
SILENCES_LIMIT: Final = 2
# After these a connection is as good as before: data, constraints, conflicts with others, resources, limits, our own
# functions' refusals (classes of SQLSTATE: PostgreSQL's manual, appendix A), and a statement that ran out of time.
HARMLESS_CLASSES: Final = frozenset({"21", "22", "23", "40", "53", "54", "55", "P0"})
STATEMENT_TIMED_OUT: Final = "57014"
READ_ONLY: Final = "25006"  # a standby, a primary that was demoted, default_transaction_read_only
LOOK: Final = """
SELECT current_setting('transaction_read_only') = 'off' AS is_writable,
       to_regclass($1) IS NOT NULL AS is_there,
       has_table_privilege(to_regclass($1), 'INSERT') IS TRUE AS is_granted
"""


class Database:
    """Postgres as a service uses it.

    Every method raises DatabaseUnavailable or DataRejected and nothing else of Postgres'.
    """

    def __init__(self, connections: Connections, call_timeout_s: float) -> None:
        self._connections = connections
        self._call_timeout_s = call_timeout_s
        self._silences = 0
        self._left_alone: set[asyncio.Task[None]] = set()  # the event loop holds tasks weakly

    @classmethod
    def open(cls, settings: PostgresSettings, application_name: str) -> Database:
        """To be entered before its first use."""
        return cls(Connections(settings, application_name), settings.postgres_call_timeout_ms / 1000)

    async def __aenter__(self) -> Database:
        """Make ready; opens no connection yet."""
        await self._connections.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the connections, by force after the call limit; at once where the process is interrupted."""
        interrupted = kind is not None and issubclass(kind, asyncio.CancelledError)
        await self._connections.close(0 if interrupted else self._call_timeout_s)

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        """Run one statement as its own transaction; returns its rows."""
        return await self._call(lambda connection: connection.fetch(query, *args), statement=query)

    async def fetchrow(self, query: str, *args: object) -> asyncpg.Record | None:
        """Run one statement as its own transaction; returns its first row."""
        return await self._call(lambda connection: connection.fetchrow(query, *args), statement=query)

    async def execute(self, query: str, *args: object) -> str:
        """Run one statement as its own transaction; returns its command tag."""
        return await self._call(lambda connection: connection.execute(query, *args), statement=query)

    async def holds(self, table: str) -> bool:
        """Whether Postgres can be written to, has this table, and lets this role insert into it.

        Where it cannot, all connections are replaced: the next look may meet another server, or see other rights.
        """
        try:
            row = await self._call(lambda connection: connection.fetchrow(LOOK, table), LOOK_LIMIT_S)
        except DatabaseUnavailable:
            return False
        missing = [fact for fact, holds in row.items() if not holds] if row else ["answer"]
        if missing:
            log.warning("database_cannot_serve", table=table, missing=missing)
            await self._connections.expire()
        return not missing

    async def in_transaction(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work(connection)` in one READ COMMITTED transaction; it commits when `work` returns."""
        return await self._call(lambda connection: _transaction(connection, work))

    async def in_long_transaction(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """The same for work over millions of rows: minutes instead of seconds."""

        async def run(connection: Connection) -> T:
            await connection.execute("SET LOCAL transaction_timeout = 0")  # one that runs already cannot be prolonged
            limit_ms = int(LONG_TRANSACTION_S * 1000)
            for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
                await connection.execute(f"SET LOCAL {limit} = {limit_ms}")
            return await work(connection)

        with tracing.step_span("postgres", "postgresql", ""):
            connection = await self._connections.take()
            working = asyncio.ensure_future(_transaction(connection, run))
            try:
                await _ended(working, LONG_TRANSACTION_S)
            except asyncio.CancelledError:
                # An operator who interrupts minutes of work wants its end, not its result.
                _abandon(connection, working)
                await self._connections.give_back(connection)
                raise
            return await self._outcome(connection, working)

    async def _call(
        self, work: Callable[[Connection], Awaitable[T]], timeout_s: float | None = None, statement: str = ""
    ) -> T:
        with tracing.step_span("postgres", "postgresql", statement_name(statement)):
            return await self._timed(work, timeout_s or self._call_timeout_s)

    async def _timed(self, work: Callable[[Connection], Awaitable[T]], timeout_s: float) -> T:
        connection = await self._connections.take()
        working = asyncio.ensure_future(work(connection))
        until_s = time.monotonic() + timeout_s
        try:
            await _ended(working, timeout_s)
        except asyncio.CancelledError:
            alone = asyncio.create_task(self._end_alone(connection, working, until_s))
            self._left_alone.add(alone)
            alone.add_done_callback(self._left_alone.discard)
            raise
        return await self._outcome(connection, working)

    async def _end_alone(self, connection: Connection, working: asyncio.Future[Any], until_s: float) -> None:
        """What `_timed` does at the end of a call, for a caller who has left."""
        try:
            await _ended(working, until_s - time.monotonic())
            await self._outcome(connection, working)
        except Exception as error:
            log.info("nobody_waited", problem=str(error) if isinstance(error, DatabaseFailed) else type(error).__name__)

    async def _outcome(self, connection: Connection, working: asyncio.Future[T]) -> T:
        """What `working` returned or raised, once its time is over; the connection is given back."""
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
        """Close a connection that would be handed out again and not work."""
        if isinstance(error, asyncpg.InternalClientError):
            discard(connection)
        elif isinstance(error, asyncpg.PostgresError) and not _is_harmless(error):
            log.warning("connection_replaced", cause=f"SQLSTATE {error.sqlstate}")
            discard(connection)
            if error.sqlstate == READ_ONLY:
                await self._connections.expire()


async def _ended(running: asyncio.Future[Any], timeout_s: float) -> None:
    """Wait until `running` is done or the time is over; it goes on where the caller is cancelled.

    `asyncio.wait` for one future, at a third of its cost: a batch pays for it twice.
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
            raise DataRejected(f"SQLSTATE {error.sqlstate}") from None  # its text holds the data
        raise DatabaseUnavailable(f"SQLSTATE {error.sqlstate}") from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        # InternalClientError: the server ended the session while nothing was asked, and asyncpg is still reading that.
        raise DatabaseUnavailable(type(error).__name__) from error
