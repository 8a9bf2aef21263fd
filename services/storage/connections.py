"""A bounded pool of connections to Postgres, and two that stay out of it between statements."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any, Final, TypeAlias

import asyncpg
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
# Generic for the type checker alone.
Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"


class Connections:
    """Connections that are taken and given back; each is opened when it is first needed."""

    def __init__(self, settings: PostgresSettings, application_name: str) -> None:
        """Opens none yet, so that a service starts while Postgres is away."""
        self._connect_timeout_s = settings.postgres_connect_timeout_ms / 1000
        self._kept: list[tuple[Connection, float]] = []  # and since when
        self._waiting = 0
        self._pool: asyncpg.Pool[asyncpg.Record] = asyncpg.create_pool(
            settings.database_url,
            min_size=0,
            max_size=settings.postgres_pool_size,
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
        while self._kept:
            await self._return(self._kept.pop()[0])
        try:
            await asyncio.wait_for(self._pool.close(), limit_s)
        except TimeoutError:
            self._pool.terminate()

    async def take(self) -> Connection:
        """A connection that nobody else uses. Raises DatabaseUnreachable."""
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

    async def give_back(self, connection: Connection) -> None:
        """Let others have it; one that was terminated is replaced."""
        if _lives(connection) and not self._waiting and len(self._kept) < KEPT_LIMIT:
            self._kept.append((connection, time.monotonic()))
        else:
            await self._return(connection)

    async def _return(self, connection: Connection) -> None:
        # Shielded by asyncpg; a connection that was terminated is replaced by the pool. What it answered
        # stands, also where it was lost just now and its place in the pool is free already.
        with suppress(*CONNECTION_FAILURES):
            await self._pool.release(connection, timeout=self._connect_timeout_s)


def _lives(connection: Connection) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        return False  # it was lost, and the pool has taken it back


async def _keep_session(_: Any) -> None:
    """Spare the round trip of a session reset: no statement of ours changes the session."""
