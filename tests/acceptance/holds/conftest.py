"""Drops that sell by hold, on the running suite."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from admin.drops import NewDrop, create_drop
from stack.local import Stack
from tests.acceptance.holds.doors import Ask, grpc_door, json_door

_tiers = itertools.count(1)
MakeDrop = Callable[..., Awaitable[dict[str, str]]]


@pytest.fixture
async def database(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the suite's Postgres."""
    connection = await asyncpg.connect(stack.database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def make_drop(database: asyncpg.Connection) -> MakeDrop:
    """Creates a drop of a capacity; returns its `tier` and `year`."""

    async def make(capacity: int, sale: str = "hold", **new: Any) -> dict[str, str]:
        name = {"tier": f"holds-{next(_tiers)}", "year": "2031"}
        async with database.transaction():
            assert await create_drop(database, NewDrop(name["tier"], name["year"], capacity, sale=sale, **new))
        return name

    return make


@pytest.fixture(params=["json", "grpc"])
async def ask(request: pytest.FixtureRequest, stack: Stack) -> AsyncIterator[Ask]:
    """A way to send requests."""
    door = json_door(stack.gateway_url) if request.param == "json" else grpc_door(stack.gateway_grpc_target)
    async with door as opened:
        yield opened
