"""A bounded pool of Postgres connections whose every use has a time limit.

Limits, each inside the next: lock < statement < transaction on the server, as long as a
call on this side. A call that passes its limit is abandoned by closing its connection,
never by a cancel request: Postgres answers a cancelled COMMIT that waits for a
synchronous standby by committing locally, and the caller would not know.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Self, TypeAlias, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from pydantic import Field, model_validator
from pydantic_settings import BaseSettings

from services import tracing
from services.storage.queries import statement_name
from vyris.errors import Retryable

T = TypeVar("T")
LONG_TRANSACTION_S: Final = 600.0
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
# Generic for the type checker alone.
Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"


class PostgresSettings(BaseSettings):
    """How a process uses Postgres."""

    database_url: str = Field(description="libpq URI of the Postgres database that all services share")
    postgres_pool_size: int = Field(8, ge=2, le=100, description="connections a process holds at most")
    postgres_connect_timeout_ms: int = Field(2_000, ge=100, le=30_000, description="time to open a connection")
    postgres_lock_timeout_ms: int = Field(1_000, ge=10, le=10_000, description="time to wait for a lock")
    postgres_statement_timeout_ms: int = Field(3_000, ge=20, le=20_000, description="time for one statement")
    postgres_call_timeout_ms: int = Field(5_000, ge=50, le=30_000, description="time for one call, answer included")

    @model_validator(mode="after")
    def _each_inside_the_next(self) -> Self:
        limits = (self.postgres_lock_timeout_ms, self.postgres_statement_timeout_ms, self.postgres_call_timeout_ms)
        if not limits[0] < limits[1] < limits[2]:
            raise ValueError(
                "POSTGRES_LOCK_TIMEOUT_MS must be less than POSTGRES_STATEMENT_TIMEOUT_MS, "
                "and that less than POSTGRES_CALL_TIMEOUT_MS"
            )
        return self


class DatabaseFailed(Retryable):
    """A statement failed. `cause`, which is also its text, is for the log: never a value that was in the statement.

    The caller hears what every Retryable says.
    """

    def __init__(self, cause: str) -> None:
        super().__init__()
        self.cause = cause

    def __str__(self) -> str:
        return self.cause


class DatabaseUnavailable(DatabaseFailed):
    """Postgres could not be reached, refused, or did not answer in time; what it did is not known."""


class DataRejected(DatabaseFailed):
    """Postgres refused the data itself (SQLSTATE class 22 or 23); nothing was written."""


class Database:
    """One pool. Every method raises DatabaseUnavailable or DataRejected and nothing else of Postgres'."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], settings: PostgresSettings) -> None:
        self._pool = pool
        self._kept: list[tuple[Connection, float]] = []  # and since when
        self._waiting = 0
        self._call_timeout_s = settings.postgres_call_timeout_ms / 1000
        self._connect_timeout_s = settings.postgres_connect_timeout_ms / 1000

    @classmethod
    def open(cls, settings: PostgresSettings, application_name: str) -> Database:
        """A pool that connects when first used, so that a service starts while Postgres is away."""
        pool = asyncpg.create_pool(
            settings.database_url,
            min_size=0,
            max_size=settings.postgres_pool_size,
            timeout=settings.postgres_connect_timeout_ms / 1000,
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
            },
        )
        return cls(pool, settings)

    async def __aenter__(self) -> Database:
        """Initialise the pool; opens no connection yet."""
        await self._pool
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close the pool, by force after the call limit."""
        while self._kept:
            await self._release(self._kept.pop()[0])
        try:
            await asyncio.wait_for(self._pool.close(), self._call_timeout_s)
        except TimeoutError:
            self._pool.terminate()

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        """Run one statement as its own transaction; returns its rows."""
        return await self._call(lambda connection: connection.fetch(query, *args), statement=query)

    async def fetchrow(self, query: str, *args: object) -> asyncpg.Record | None:
        """Run one statement as its own transaction; returns its first row."""
        return await self._call(lambda connection: connection.fetchrow(query, *args), statement=query)

    async def execute(self, query: str, *args: object) -> str:
        """Run one statement as its own transaction; returns its command tag."""
        return await self._call(lambda connection: connection.execute(query, *args), statement=query)

    async def answers(self) -> bool:
        """Whether Postgres answers and can be written to."""
        try:
            row = await self.fetchrow("SELECT NOT pg_is_in_recovery() AS writable")
        except DatabaseUnavailable:
            return False
        return bool(row and row["writable"])

    async def in_transaction(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work(connection)` in one READ COMMITTED transaction; it commits when `work` returns."""
        return await self._call(lambda connection: _transaction(connection, work))

    async def in_long_transaction(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """The same for an operator's work over millions of rows: minutes instead of seconds."""

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
        connection = await self._connection()
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
            if _lives(connection) and not self._waiting and len(self._kept) < KEPT_LIMIT:
                self._kept.append((connection, time.monotonic()))
            else:
                await self._release(connection)

    async def _connection(self) -> Connection:
        while self._kept:
            connection, since_s = self._kept.pop()
            if _lives(connection):
                if time.monotonic() - since_s < KEPT_S:
                    return connection
                connection.terminate()
            await self._release(connection)
        self._waiting += 1
        try:
            # Opening a connection has this limit in any case; where one is idle there is no wait, and no task for it.
            timeout_s = None if self._pool.get_idle_size() else self._connect_timeout_s
            return await self._pool.acquire(timeout=timeout_s)
        except CONNECTION_FAILURES as error:
            raise DatabaseUnavailable(f"no connection: {type(error).__name__}") from error
        finally:
            self._waiting -= 1

    async def _release(self, connection: Connection) -> None:
        # Shielded by asyncpg; a connection that was terminated is replaced by the pool. What it answered
        # stands, also where it was lost just now and its place in the pool is free already.
        with suppress(*CONNECTION_FAILURES):
            await self._pool.release(connection, timeout=self._connect_timeout_s)


def _lives(connection: Connection) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        return False  # it was lost, and the pool has taken it back


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


async def _keep_session(_: Any) -> None:
    """Spare the round trip of a session reset: no statement of ours changes the session."""


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
