"""Slices of `python -m tests.hold_trials`: crowds that take holds, over JSON and gRPC, with two mint processes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from stack.local import Stack
from tests.acceptance.holds.doors import Ask
from tests.hold_trials.trials import Night, hoarders, last_numbers, moment_of_the_lapse, open_night

_tiers = itertools.count(1)
GRACE_S = 60.0  # the default of HOLD_GRACE_S
OpenNight = Callable[[int], Awaitable[Night]]


@pytest.fixture
def night(ask: Ask, stack: Stack, database: asyncpg.Connection) -> OpenNight:
    """Opens a drop of a capacity."""

    async def open_drop(capacity: int) -> Night:
        tier = f"crowd-{next(_tiers)}"
        return await open_night(ask, stack.database_url, database, tier, capacity, grace_s=GRACE_S)

    return open_drop


async def test_many_for_the_last_numbers_never_get_sold_out(night: OpenNight) -> None:
    await last_numbers(await night(10), people=300)


async def test_a_payment_at_the_moment_of_the_lapse_mints_or_is_too_late(night: OpenNight) -> None:
    await moment_of_the_lapse(await night(100), random.Random(25))


async def test_numbers_that_hoarders_held_return_after_hold_time_and_grace(night: OpenNight) -> None:
    await hoarders(await night(50), people=100, hurry=True)
