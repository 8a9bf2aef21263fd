"""The rest of the benchmark: how cost grows, what a claim touches, and a soak."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from schema.migrate import migrate
from stack.local import Stack
from tests.bench import arena, claim_plan, sql
from tests.bench.arena import Arena
from tests.bench.checks import Checks
from tests.bench.drops import BenchDrop, create_suite_drop
from tests.bench.growth import SIZES, Curve, Growth
from tests.bench.rounds import Progress
from tests.bench.scale import scaled_suites
from tests.bench.soak import Sample, memory_growth, soak
from tests.bench.subject import SUITE
from tests.fresh_database import with_database

SECTIONS = ("connections", "drops", "batch-limit", "claims", "size", "soak")
TIER, SOAK_TIER = "bench", "soak"
CAPACITY = 2_000_000
MINTS_A_SECOND = 5_000
SOAK_CONNECTIONS, SOAK_SAMPLE_S = 256, 30
CLAIM_POOLS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
CLAIM_RECEIPTS, CLAIMS = 64, 7
TOLERATED_PAGES = 0.2
FLAT = 1.1


@dataclass(frozen=True)
class PlannedClaim:
    """What claims from a pool of `pool` slots touch, medians over some claims of 64 receipts."""

    pool: int
    pages_a_row: float
    milliseconds: float
    wal_bytes_a_row: float


@dataclass
class Full:
    """One full run."""

    curves: list[Curve] = field(default_factory=list)
    claims: list[PlannedClaim] = field(default_factory=list)
    soak: list[Sample] = field(default_factory=list)
    checks: Checks = field(default_factory=Checks)


def run(
    *, seconds: int, rounds: int, soak_minutes: float, on_progress: Progress, sections: Collection[str] = SECTIONS
) -> Full:
    """Start everything, measure, stop everything. Raises MissingTool."""
    full = Full()
    with arena.running([SUITE]) as running:
        running.create_drop(BenchDrop(TIER, CAPACITY))
        full.checks.durable(running.stack.database_url)
        growth = Growth(running, TIER, seconds, rounds, on_progress)
        curves = {
            "connections": growth.by_connections,
            "drops": growth.by_drops,
            "batch-limit": growth.by_batch_limit,
        }
        full.curves += [measure() for name, measure in curves.items() if name in sections]
        if "claims" in sections:
            full.claims = _claims(running.stack, on_progress)
            _check_pages(full)
        if "size" in sections:
            with scaled_suites(running.stack, running.folder, SIZES, on_progress) as suites:
                full.curves.append(growth.by_size(suites))
        if "soak" in sections:
            full.soak = _soak(running, soak_minutes, on_progress)
            _check_soak(full)
    return full


def _claims(stack: Stack, on_progress: Progress) -> list[PlannedClaim]:
    found = []
    for pool in CLAIM_POOLS:
        name = f"claim_{pool}"
        sql.fetch(stack.database_url, f"CREATE DATABASE {name}")
        url = with_database(stack.database_url, name)
        migrate(url)
        found.append(asyncio.run(_planned(url, pool)))
        sql.fetch(stack.database_url, f"DROP DATABASE {name} WITH (FORCE)")
        on_progress(f"a claim from {pool} slots touches {found[-1].pages_a_row:.1f} pages a row")
    return found


async def _planned(url: str, pool: int) -> PlannedClaim:
    connection: asyncpg.Connection[Any] = await asyncpg.connect(url)
    try:
        drop_id = await claim_plan.make_drop(connection, "planned", pool)
        costs = [await claim_plan.claim(connection, drop_id, CLAIM_RECEIPTS) for _ in range(CLAIMS)]
    finally:
        await connection.close()
    return PlannedClaim(
        pool,
        statistics.median(one.pages_a_row for one in costs),
        statistics.median(one.milliseconds for one in costs),
        statistics.median(one.wal_bytes / one.claimed for one in costs),
    )


def _check_pages(full: Full) -> None:
    pages = [one.pages_a_row for one in full.claims]
    full.checks.note(
        "a claim touches as many pages in a large pool as in a small one",
        passed=max(pages) <= min(pages) * (1 + TOLERATED_PAGES),
        detail=", ".join(f"{one.pool:,}: {one.pages_a_row:.1f} pages a row" for one in full.claims),
    )


def _soak(running: Arena, minutes: float, on_progress: Progress) -> list[Sample]:
    create_suite_drop(running.stack, BenchDrop(SOAK_TIER, min(10_000_000, int(minutes * 60 * MINTS_A_SECOND))))
    return soak(
        running.refreshed_suite(),
        SOAK_TIER,
        connections=SOAK_CONNECTIONS,
        minutes=minutes,
        sample_s=SOAK_SAMPLE_S,
        on_progress=on_progress,
    )


def _check_soak(full: Full) -> None:
    grown = memory_growth(full.soak)
    full.checks.note(
        "memory stays flat over the soak",
        passed=all(ratio <= FLAT for ratio in grown.values()),
        detail="last third in ratio to the first: " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in grown.items()),
    )
