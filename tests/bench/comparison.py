"""Ratios of rates with the interval in which they lie, from pairs of the same round."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.measurement import Measurement

CERTAINTY = 0.95
WIDTH_LIMIT = 0.05
# With fewer there is no such interval: all are on one side of the median too often.
FEWEST_ROUNDS = 6


@dataclass(frozen=True)
class Comparison:
    """The rate of one in ratio to that of another: the median over the rounds, and the interval that holds it."""

    what: str
    connections: int
    of: str
    rounds: int
    ratio: float
    low: float
    high: float

    @property
    def is_narrow(self) -> bool:
        """Whether there were rounds enough, and they agree."""
        return self.rounds >= FEWEST_ROUNDS and self.high - self.low < WIDTH_LIMIT * self.ratio

    @property
    def verdict(self) -> str:
        """Whether the interval is narrow, in words."""
        return "narrower than 5 %" if self.is_narrow else "NOT narrower than 5 %"

    def __str__(self) -> str:
        return (
            f"{self.what}, {self.connections} connections: {self.ratio:.2f} of {self.of} "
            f"({self.low:.2f} to {self.high:.2f}, {self.rounds} rounds: {self.verdict})"
        )


def compare(mine: Sequence[Measurement], other: Sequence[Measurement]) -> Comparison:
    """Compare what was measured in the same rounds."""
    ratios = [one.load.rate / peer.load.rate for one, peer in zip(mine, other, strict=True)]
    low, high = median_interval(ratios)
    first, peer = mine[0], other[0]
    of = peer.subject if peer.workload == first.workload else peer.workload
    what = f"{first.subject}, {first.workload}"
    return Comparison(what, first.connections, of, len(ratios), statistics.median(ratios), low, high)


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Two of the values between which their true median lies with 95 % certainty, however they are distributed.

    Each value is below the median with probability 1/2, so the number of those below is binomial. With fewer than six
    values no pair is that certain: then the smallest and the largest.
    """
    ordered, count = sorted(values), len(values)
    outside, left_out = 0.0, 0
    while left_out < (count - 1) // 2:
        outside += 2 * math.comb(count, left_out) / 2**count
        if outside > 1 - CERTAINTY:
            break
        left_out += 1
    left_out = max(left_out, 1)
    return ordered[left_out - 1], ordered[count - left_out]
