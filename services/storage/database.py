"""Statements and transactions, each within a time limit.

Limits, each inside the next: lock < statement < transaction on the server, as long as a
call on this side. A call that passes its limit is abandoned by closing its connection,
never by a cancel request: Postgres answers a cancelled COMMIT that waits for a
synchronous standby by committing locally, and the caller would not know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import asyncpg
import structlog

from services import tracing
from services.storage.connections import Connection, Connections
from services.storage.failures import DatabaseUnavailable, DataRejected
from services.storage.queries import statement_name
from services.storage.settings import PostgresSettings

log = structlog.get_logger(__name__)
T = TypeVar("T")
LONG_TRANSACTION_S: Final = 600.0


class Database:
    """Postgres as a service uses it.

    Every method raises DatabaseUnavailable or DataRejected and nothing else of Postgres'.
    """

    def __init__(self, connections: Connections, call_timeout_s: float) -> None:
        self._connections = connections
        self._call_timeout_s = call_timeout_s

    @classmethod
    def open(cls, settings: PostgresSettings, application_name: str) -> Database:
        """To be entered before its first use."""
        return cls(Connections(settings, application_name), settings.postgres_call_timeout_ms / 1000)

    async def __aenter__(self) -> Database:
        """Make ready; opens no connection yet."""
        await self._connections.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close the connections, by force after the call limit."""
        await self._connections.close(self._call_timeout_s)

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
        """Whether Postgres answers, can be written to, and has this table: a schema that is missing serves nobody."""
        try:
            row = await self.fetchrow(
                "SELECT NOT pg_is_in_recovery() AS writable, to_regclass($1) IS NOT NULL AS there", table
            )
        except DatabaseUnavailable:
            return False
        if row and not row["there"]:
            log.warning("table_missing", table=table)
        return bool(row and row["writable"] and row["there"])

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

        return await self._call(lambda connection: _transaction(connection, run), LONG_TRANSACTION_S)

    async def _call(
        self, work: Callable[[Connection], Awaitable[T]], timeout_s: float | None = None, statement: str = ""
    ) -> T:
        with tracing.step_span("postgres", "postgresql", statement_name(statement)):
            return await self._timed(work, timeout_s or self._call_timeout_s)

    async def _timed(self, work: Callable[[Connection], Awaitable[T]], timeout_s: float) -> T:
        connection = await self._connections.take()
        try:
            running = asyncio.ensure_future(work(connection))
            try:
                await _ended(running, timeout_s)
            except asyncio.CancelledError:
                _abandon(connection, running)
                raise
            if not running.done():
                _abandon(connection, running)
                raise DatabaseUnavailable("no answer within the time limit")
            if isinstance(running.exception(), asyncpg.InternalClientError):
                connection.terminate()  # or it would be handed out again and never work
            return _result(running)
        finally:
            await self._connections.give_back(connection)


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


def _abandon(connection: Connection, running: asyncio.Future[Any]) -> None:
    connection.terminate()
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
