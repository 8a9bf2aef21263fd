"""A slice of the benchmark that fits a test run: mints are not far from the empty RPC."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import pytest

from tests.bench import arena, loads, rounds, tools
from tests.bench.arena import Arena
from tests.bench.checks import Checks
from tests.bench.drops import BenchDrop
from tests.bench.subject import CEILING, SUITE

CONNECTIONS, SECONDS, ROUNDS = 64, 1, 2
# Other load on the machine can spoil one measurement, but not three in a row.
LOOKS = 3
# Measured: 0.40 alone on two cores. This limit only catches a regression.
FLOOR = 1 / 4
CAPACITY = 180_000
TIER = "slice"


@pytest.fixture
def running() -> Iterator[Arena]:
    """The suite with a drop, and the empty RPC."""
    try:
        tools.find("wrk")
    except tools.MissingTool as missing:
        pytest.skip(str(missing))
    with arena.running([SUITE, CEILING]) as started:
        started.create_drop(BenchDrop(TIER, CAPACITY))
        yield started


@pytest.mark.alone
@pytest.mark.timeout(300)
def test_mints_are_not_far_from_an_empty_rpc_through_the_same_gateway_and_every_answer_is_in_the_ledger(
    running: Arena,
) -> None:
    checks = Checks()
    contenders = [
        rounds.Contender(
            subject,
            lambda run: loads.mints(run, TIER),
            lambda run, measured, subject=subject: checks.mints(subject, run, measured),  # type: ignore[misc]
        )
        for subject in running.subjects.values()
    ]
    for _ in range(LOOKS):
        seen = rounds.interleaved(contenders, connections=CONNECTIONS, seconds=SECONDS, rounds=ROUNDS)
        rates = {
            name: statistics.median(one.load.rate for one in seen if one.subject == name) for name in (SUITE, CEILING)
        }
        if rates[SUITE] >= rates[CEILING] * FLOOR:
            break
    assert checks.passed, checks.condensed()
    assert rates[SUITE] >= rates[CEILING] * FLOOR, rates
