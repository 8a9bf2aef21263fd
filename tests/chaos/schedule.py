"""The faults of a run and their times, drawn from its seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.chaos.faults import FAULTS

SPAN_S = 4.0  # within which faults begin


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault of a run."""

    kind: str
    at_s: float
    hold_s: float


def drawn_faults(seed: int, rng: random.Random) -> list[PlannedFault]:
    """Draw two to four faults. The first one cycles through all kinds with the seed, so that each kind occurs."""
    kinds = sorted(FAULTS)
    chosen = [kinds[seed % len(kinds)], *rng.choices(kinds, k=rng.randint(1, 3))]
    return sorted(
        (PlannedFault(kind, rng.uniform(0.3, SPAN_S), rng.uniform(0.6, 2.2)) for kind in chosen),
        key=lambda planned: planned.at_s,
    )
