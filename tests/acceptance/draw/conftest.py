"""Drops that sell by a draw, on the running suite: seconds instead of days, by the local stack's own beacon."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from stack.local import Stack
from tests.acceptance.holds.doors import Answer, Ask, grpc_door, json_door
from tests.commands import run_vyris
from tests.development_draw import announce_draw

WITHIN_S = 30
# Every process and the gateway keep the document for a moment.
SHOWN_BY_ALL_S = 1.0
_tiers = itertools.count(1)
MakeDraw = Callable[..., Awaitable[dict[str, str]]]
ENTRANTS = 1_000
CAPACITY = 40


@dataclass
class EnteredDraw:
    """A draw, and what its entrants got as answers."""

    drop: dict[str, str]
    answers: dict[str, dict[str, Any]]  # by user, without the withdrawn ones
    withdrawn_leaf: str

    def user_of(self, leaf_hash: str) -> str:
        """The user whose leaf this is."""
        return next(user for user, answer in self.answers.items() if answer["entry"]["leaf_hash"] == leaf_hash)


def vyris(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an operator's command against the stack."""
    return run_vyris(stack.service_environment, *arguments)


async def wait_for_state(ask: Ask, drop: dict[str, str], state: str) -> dict[str, Any]:
    """The first document with this state."""
    until_s = time.monotonic() + WITHIN_S
    while time.monotonic() < until_s:
        answer = await ask("GetDraw", **drop)
        if answer.body["state"] == state:
            return answer.body
        await asyncio.sleep(0.1)
    raise AssertionError(answer.body)


@pytest.fixture(scope="session")
async def database(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the suite's Postgres."""
    connection = await asyncpg.connect(stack.database_url)
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
async def make_draw(stack: Stack, database: asyncpg.Connection) -> MakeDraw:
    """Announces a draw by the stack's own beacon and key; answers its `tier` and `year`."""

    async def make(capacity: int, open_s: float = 3_600, **how: Any) -> dict[str, str]:
        name = (f"draw-{next(_tiers)}", "2033")
        await announce_draw(database, stack, name, capacity, open_s=open_s, **how)
        return dict(zip(("tier", "year"), name, strict=True))

    return make


@pytest.fixture(params=["json", "grpc"])
async def ask(request: pytest.FixtureRequest, stack: Stack) -> AsyncIterator[Ask]:
    """A way to send requests."""
    door = json_door(stack.gateway_url) if request.param == "json" else grpc_door(stack.gateway_grpc_target)
    async with door as opened:
        yield opened


async def enter_and_wait(
    make_draw: MakeDraw, ask: Ask, users: list[str], capacity: int, state: str, **how: Any
) -> EnteredDraw:
    """Let all users enter and one more withdraw, and wait until the draw has a state.

    On a machine that is too busy for the first window, another draw has a longer one.
    """
    at_once = asyncio.Semaphore(64)

    async def enter(user: str) -> Answer:
        async with at_once:
            return await ask("Enter", **drop, user_id=user)

    for open_s in (2 + len(users) / 500, 15, 60):
        drop = await make_draw(capacity, open_s, **how)
        gone, *entered = await asyncio.gather(*(enter(user) for user in ("gone", *users)))
        errors = {answer.error for answer in (gone, *entered)} - {""}
        assert errors <= {"DROP_NOT_OPEN"}, errors
        if errors:
            continue
        entry = gone.body["entry"]
        if (await ask("Withdraw", entry_id=entry["id"], user_id="gone")).status == 200:
            await wait_for_state(ask, drop, state)
            await asyncio.sleep(SHOWN_BY_ALL_S)
            answers = {user: answer.body for user, answer in zip(users, entered, strict=True)}
            return EnteredDraw(drop, answers, entry["leaf_hash"])
    raise AssertionError("entries closed before all had entered")


@pytest.fixture(scope="session")
async def committed(stack: Stack, make_draw: MakeDraw) -> EnteredDraw:
    """A draw of four entries whose root is published, and whose round comes in an hour; tests only read it."""
    async with json_door(stack.gateway_url) as ask:
        users = [f"u{n}" for n in range(4)]
        return await enter_and_wait(make_draw, ask, users, 2, "COMMITTED", round_after_s=3_600)


@pytest.fixture(scope="session")
async def drawn(stack: Stack, make_draw: MakeDraw) -> EnteredDraw:
    """A draw of 1,000 entries with its offers; tests may mint and release them, one rank after the other."""
    async with grpc_door(stack.gateway_grpc_target) as ask:
        return await enter_and_wait(make_draw, ask, [f"u{n}" for n in range(ENTRANTS)], CAPACITY, "DRAWN")
