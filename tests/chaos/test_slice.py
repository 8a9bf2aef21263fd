"""Less than a minute of a campaign finds what a change breaks badly; `make chaos` runs longer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.local import Stack
from tests.chaos.broken.__main__ import catch
from tests.chaos.campaign import Results, campaign_stack, run_seeds
from tests.chaos.draws import run_draws
from tests.chaos.table import title

SLICE_S = 8.0
FIRST_SEED = 1_000
RUNS = range(FIRST_SEED, FIRST_SEED + 100)
CAPACITY_LIMIT = 300

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def faulty_stack() -> Iterator[Stack]:
    with campaign_stack() as stack:
        yield stack


@pytest.mark.alone  # It judges how soon the suite serves again.
def test_nothing_is_lost_in_a_few_seeded_runs(faulty_stack: Stack, tmp_path: Path) -> None:
    until_s = time.monotonic() + SLICE_S
    seeds = (seed for seed in RUNS if time.monotonic() < until_s)
    results = run_seeds(faulty_stack, seeds, Results(tmp_path), lambda _: None, capacity_limit=CAPACITY_LIMIT)
    print(title(results))
    assert {result.seed: result.violations for result in results if result.violations} == {}
    assert sum(result.mints for result in results) > len(results)


def test_a_draw_under_faults_is_what_the_formulas_say(faulty_stack: Stack) -> None:
    [result] = run_draws(faulty_stack, [FIRST_SEED])
    assert result.violations == []
    assert result.offers > 0


def test_the_checker_catches_a_process_that_is_broken(faulty_stack: Stack) -> None:
    assert catch(faulty_stack, "one-answer-for-all-copies")
