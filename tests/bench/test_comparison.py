"""Ratios and their intervals."""

from __future__ import annotations

from statistics import NormalDist

import pytest

from tests.bench.comparison import Comparison, median_interval


@pytest.mark.parametrize(
    ("count", "expected"),
    # Tables of the sign test name these ranks for a certainty of 95 %.
    [(1, (1, 1)), (5, (1, 5)), (6, (1, 6)), (8, (1, 8)), (9, (2, 8)), (12, (3, 10)), (20, (6, 15)), (25, (8, 18))],
)
def test_the_interval_lies_between_the_ranks_of_the_sign_test(count: int, expected: tuple[int, int]) -> None:
    assert median_interval(range(count, 0, -1)) == expected


def test_the_interval_holds_the_median_in_19_of_20_runs() -> None:
    runs = 1_000
    noise = NormalDist(1.0, 0.1)
    intervals = [median_interval(noise.samples(12, seed=run)) for run in range(runs)]
    assert sum(low <= 1.0 <= high for low, high in intervals) >= 0.94 * runs


def test_a_few_rounds_are_never_certain_and_a_wide_interval_says_so() -> None:
    def comparison(rounds: int, low: float, high: float) -> Comparison:
        return Comparison("suite, mint", 64, "node", rounds, 2.0, low, high)

    assert not comparison(5, 2.0, 2.0).is_narrow
    assert comparison(6, 1.96, 2.05).is_narrow
    assert not comparison(12, 1.94, 2.05).is_narrow
    assert "NOT narrower than 5 %" in str(comparison(12, 1.94, 2.05))
