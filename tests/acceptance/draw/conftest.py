"""Drops that sell by a draw, on the running suite: seconds instead of days, by the local stack's own beacon."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from admin.draws import NewDraw, create_draw
from admin.drops import NewDrop
from services.draw.development_beacon import development_beacon
from services.draw.signing import read_signer
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
async def database(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the suite's Postgres."""
    connection = await asyncpg.connect(stack.database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def make_draw(stack: Stack, database: asyncpg.Connection) -> MakeDraw:
    """Announces a draw by the stack's own beacon and key; answers its `tier` and `year`."""
    state = Path(stack.service_environment["VYRIS_STATE_DIR"])
    signer = read_signer(None, state, "https://vyris.example", production=False)
    assert signer is not None
    chain = development_beacon(state).chain

    async def make(
        capacity: int, close_after_s: float = 3_600, *, open_after_s: float = 0, limits: tuple[str, ...] = ()
    ) -> dict[str, str]:
        name = (f"draw-{next(_tiers)}", "2033")
        now = datetime.now(UTC)
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        closes = now + timedelta(seconds=close_after_s)
        drop = NewDrop(
            *name, capacity, closes_at=closes + timedelta(days=8), sale="draw", limits=limits, hold_ttl_s=86_400
        )
        round_ = chain.first_round_from(closes + timedelta(seconds=4))
        new = NewDraw(chain, round_, now + timedelta(seconds=open_after_s), closes, 1, signer.verifier_key)
        async with database.transaction():
            assert await create_draw(database, drop, new)
        return dict(zip(("tier", "year"), name, strict=True))

    return make


@pytest.fixture(params=["json", "grpc"])
async def ask(request: pytest.FixtureRequest, stack: Stack) -> AsyncIterator[Ask]:
    """A way to send requests."""
    door = json_door(stack.gateway_url) if request.param == "json" else grpc_door(stack.gateway_grpc_target)
    async with door as opened:
        yield opened
