"""Drops that sell by a draw, on the running suite: seconds instead of days, by the local stack's own beacon."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from stack.local import Stack
from tests.acceptance.holds.doors import Ask, grpc_door, json_door

_tiers = itertools.count(1)
MakeDraw = Callable[..., Awaitable[dict[str, str]]]


def vyris(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env={**os.environ, **stack.service_environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
async def make_draw(stack: Stack) -> MakeDraw:
    """Announces a draw, as an operator does; answers its `tier` and `year`."""

    async def make(
        capacity: int, close_after_s: float = 3_600, *options: str, open_after_s: float = 0
    ) -> dict[str, str]:
        name = {"tier": f"draw-{next(_tiers)}", "year": "2033"}
        now = datetime.now(UTC)
        opens, closes, ends = (
            (now + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")
            for seconds in (open_after_s, close_after_s, close_after_s + 864_000)
        )
        times = ["--entries-open", opens, "--entries-close", closes, "--closes-at", ends, "--challenge", "1"]
        round_ = int((now + timedelta(seconds=close_after_s + 3)).timestamp()) - 1_767_225_600 + 1
        created = await asyncio.to_thread(
            vyris,
            stack,
            *("drop", "create", *name.values(), "--capacity", str(capacity), "--sale", "draw", *times),
            *("--development-beacon", "--beacon-round", str(round_), *options),
        )
        assert created.returncode == 0, created.stderr
        return name

    return make


@pytest.fixture
async def database(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the suite's Postgres."""
    connection = await asyncpg.connect(stack.database_url)
    yield connection
    await connection.close()


@pytest.fixture(params=["json", "grpc"])
async def ask(request: pytest.FixtureRequest, stack: Stack) -> AsyncIterator[Ask]:
    """A way to send requests."""
    door = json_door(stack.gateway_url) if request.param == "json" else grpc_door(stack.gateway_grpc_target)
    async with door as opened:
        yield opened
