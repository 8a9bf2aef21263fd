"""A release under load: every process is replaced, and the answers of all callers are checked."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from services.mint.drops import Drop
from tests.chaos.checker import Violation, check
from tests.chaos.drained import read_drained, wait_until_drained
from tests.chaos.recorder import Sampler
from tests.rolling.callers import Callers
from tests.rolling.suite import Suite

SAMPLE_EVERY_S: Final = 1.0
WARM_UP_S: Final = 2.0
BETWEEN_S: Final = 1.0


@dataclass(frozen=True)
class Outcome:
    """The effect of a release on the callers."""

    seconds: float
    replaced: list[str]
    answered: Counter[str]
    sent_again: Counter[str]
    failures: Counter[str]
    mints_per_s: float
    p50_s: float
    p99_s: float
    slowest_s: float
    violations: list[Violation]


async def one_after_the_other(suite: Suite) -> list[str]:
    """Replace each process by itself, so that the effect of each end is visible."""
    steps: dict[str, Callable[[], None]] = {
        **{name: lambda name=name: suite.restart_replica(name) for name in suite.replicas},  # type: ignore[misc]
        **{f"gateway {number}": suite.replace_gateway for number in (1, 2)},
    }
    for step in steps.values():
        await asyncio.to_thread(step)
        await asyncio.sleep(BETWEEN_S)
    return list(steps)


async def one_of_each(suite: Suite, *, last: bool = False) -> list[str]:
    """Replace one replica of each service and a gateway, all at the same time."""
    names = [name for name in suite.replicas if name.endswith("-2") is last]
    steps = [asyncio.to_thread(suite.restart_replica, name) for name in names]
    await asyncio.gather(*steps, asyncio.to_thread(suite.replace_gateway))
    await asyncio.sleep(BETWEEN_S)
    return [*names, f"gateway {2 if last else 1}"]


async def all_at_once(suite: Suite) -> list[str]:
    """Replace as in a release: all Deployments at the same time, each one replica after the other."""
    return [*await one_of_each(suite), *await one_of_each(suite, last=True)]


async def release_under_load(
    suite: Suite, rate: float, order: Callable[[Suite], Coroutine[Any, Any, list[str]]]
) -> Outcome:
    """Replace every process in this order while `rate` mints a second come in."""
    drop = await _drop(suite)
    async with Callers(suite, rate) as callers:
        sampler = Sampler(suite.cluster, drop, callers.history)
        calling = asyncio.create_task(callers.run())
        over = asyncio.Event()
        sampling = asyncio.create_task(_sample(sampler, over))
        began_s = time.monotonic()
        await asyncio.sleep(WARM_UP_S)
        replaced = await order(suite)
        callers.stop()
        await calling
        seconds = time.monotonic() - began_s
        over.set()
        await sampling
        violations = await _violations(suite, drop, callers, sampler)
    ordered = sorted(callers.mint_seconds)
    return Outcome(
        seconds=seconds,
        replaced=replaced,
        answered=callers.answered,
        sent_again=callers.sent_again,
        failures=callers.failures,
        mints_per_s=callers.answered["mint"] / seconds,
        p50_s=ordered[len(ordered) // 2],
        p99_s=ordered[len(ordered) * 99 // 100],
        slowest_s=ordered[-1],
        violations=violations,
    )


async def _sample(sampler: Sampler, over: asyncio.Event) -> None:
    """Sample the drop until the release is over; skip samples that fail.

    Not cancelled: clients in the middle of a call have been seen to take a cancellation for their time limit, and then
    this would go on for ever.
    """
    while not over.is_set():
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            await sampler.once()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), SAMPLE_EVERY_S)


async def _drop(suite: Suite) -> Drop:
    async with suite.cluster.direct() as connection:
        row = await connection.fetchrow("SELECT id, tier, year, environment FROM drops WHERE tier = 'genesis'")
    assert row is not None
    return Drop(row["id"], row["tier"], row["year"], row["environment"])


async def _violations(suite: Suite, drop: Drop, callers: Callers, sampler: Sampler) -> list[Violation]:
    """Check the contract's rules over all answers and the state that is left."""
    drift_zero_after_s = await wait_until_drained(suite.cluster, sampler, drop)
    last = await sampler.once()
    history = callers.history
    history.drained = await read_drained(
        suite.cluster,
        drop,
        suite.capacity,
        {operation.subject for operation in history.operations if operation.kind == "mint"},
        unsettled=(),
        serving_after_s=0.0,
        drift_zero_after_s=drift_zero_after_s,
        redis_count=last.redis,
        met=callers.met,
        addresses=callers.addresses,
    )
    return await asyncio.to_thread(check, history)
