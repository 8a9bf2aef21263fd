"""Single statements for a benchmark that is not itself asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg

Work = Callable[["asyncpg.Connection[asyncpg.Record]"], Awaitable[object]]


def fetch(url: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
    """Run one statement over a separate connection; return its rows."""

    async def run() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
            return rows
        finally:
            await connection.close()

    return asyncio.run(run())


def value(url: str, statement: str, *arguments: object) -> int:
    """The one number that a statement returns."""
    return int(fetch(url, statement, *arguments)[0][0])


def in_transaction(url: str, work: Work) -> None:
    """Run `work(connection)` in one transaction."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                await work(connection)
        finally:
            await connection.close()

    asyncio.run(run())
