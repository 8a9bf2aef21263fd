"""How cost grows: with the pool, the ledger, the drops at once, the size of a batch, the connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Point:
    """One measurement on a curve."""

    at: float
    rate: float
    slowest_rate: float
    fastest_rate: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Curve:
    """Rates and times along one axis."""

    name: str  # of the plot's file
    title: str
    axis: str
    logarithmic: bool
    points: list[Point]

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Curve:
        """The curve that `dataclasses.asdict` wrote."""
        return cls(**{**told, "points": [Point(**one) for one in told["points"]]})
