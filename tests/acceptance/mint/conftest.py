"""Drops on the running suite."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import asyncpg
import pytest

from admin.drops import NewDrop, create_drop
from stack.local import Stack
from tests.acceptance.mint.buyers import Send, grpc_sender, json_sender

_years = itertools.count(2030)
MakeDrop = Callable[[int], Awaitable[dict[str, str]]]


@pytest.fixture
async def database(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the suite's Postgres."""
    connection = await asyncpg.connect(stack.database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def make_drop(stack: Stack) -> MakeDrop:
    """Creates a drop of a capacity; returns its `tier` and `year`, to be put into requests."""

    async def make(capacity: int) -> dict[str, str]:
        name = {"tier": "acceptance", "year": str(next(_years))}
        connection = await asyncpg.connect(stack.database_url)
        async with connection.transaction():
            assert await create_drop(connection, NewDrop(name["tier"], name["year"], capacity))
        await connection.close()
        return name

    return make


@pytest.fixture(params=["json", "grpc"])
def sender(request: pytest.FixtureRequest, stack: Stack) -> AbstractAsyncContextManager[Send]:
    """A way to send mint requests: JSON through the gateway, and native gRPC through it."""
    return json_sender(stack.gateway_url) if request.param == "json" else grpc_sender(stack.gateway_grpc_target)
