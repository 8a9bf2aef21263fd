"""Figures on disk: what a run measured, as JSON beside the report that is made from it."""

from __future__ import annotations

import dataclasses
import json
import statistics
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.checks import Check
from tests.bench.comparison import Comparison
from tests.bench.crowd import Scene, Timing
from tests.bench.database_limit import DatabaseLimit
from tests.bench.full import PlannedClaim
from tests.bench.growth import Curve
from tests.bench.machine import Machine
from tests.bench.measurement import Summary
from tests.bench.soak import Sample
from tests.bench.tools import REPOSITORY

FOLDER = REPOSITORY / "docs" / "performance"
CORE, FULL, NIGHT = FOLDER / "core.json", FOLDER / "full.json", FOLDER / "night.json"


@dataclass(frozen=True)
class CoreFigures:
    """The core table."""

    command: str
    finished_at: str
    machine: Machine
    summaries: list[Summary]
    database: list[DatabaseLimit]
    checks: list[Check]
    comparisons: list[Comparison] = field(default_factory=list)

    def find(self, workload: str, connections: int, subject: str) -> Summary | None:
        """One line of the table."""
        for one in self.summaries:
            if (one.workload, one.connections, one.subject) == (workload, connections, subject):
                return one
        return None


@dataclass(frozen=True)
class FullFigures:
    """How cost grows, and the soak."""

    command: str
    finished_at: str
    machine: Machine
    curves: list[Curve]
    claims: list[PlannedClaim]
    soak: list[Sample]
    checks: list[Check]

    def size_ratio(self) -> float | None:
        """The rate with the largest pool and ledger, in ratio to the smallest."""
        for curve in self.curves:
            if curve.name == "growth-size":
                return curve.points[-1].rate / curve.points[0].rate
        return None


@dataclass(frozen=True)
class NightFigures:
    """A drop's night."""

    command: str
    finished_at: str
    machine: Machine
    scenes: list[Scene]
    timings: list[Timing]
    checks: list[Check]


def now() -> str:
    """This moment, UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def medians(limits: list[DatabaseLimit]) -> list[DatabaseLimit]:
    """One line for each size of batch."""
    return [
        DatabaseLimit(batch, statistics.median(one.mints_per_s for one in limits if one.batch == batch))
        for batch in sorted({one.batch for one in limits})
    ]


def write(figures: CoreFigures | FullFigures | NightFigures, path: Path) -> None:
    """Write figures, rounded to what they mean."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_rounded(dataclasses.asdict(figures)), indent=1) + "\n", encoding="utf-8")


def read_core(path: Path = CORE) -> CoreFigures | None:
    """What the last core run measured."""
    if not path.exists():
        return None
    document = json.loads(path.read_text(encoding="utf-8"))
    return CoreFigures(
        document["command"],
        document["finished_at"],
        Machine(**document["machine"]),
        [Summary(**one) for one in document["summaries"]],
        [DatabaseLimit(**one) for one in document["database"]],
        [Check(**one) for one in document["checks"]],
        [Comparison(**one) for one in document.get("comparisons", [])],
    )


def read_full(path: Path = FULL) -> FullFigures | None:
    """What the last full run measured."""
    if not path.exists():
        return None
    document = json.loads(path.read_text(encoding="utf-8"))
    return FullFigures(
        document["command"],
        document["finished_at"],
        Machine(**document["machine"]),
        [Curve.from_json(one) for one in document["curves"]],
        [PlannedClaim(**one) for one in document["claims"]],
        [Sample(**one) for one in document["soak"]],
        [Check(**one) for one in document["checks"]],
    )


def read_night(path: Path = NIGHT) -> NightFigures | None:
    """What the last night measured."""
    if not path.exists():
        return None
    document = json.loads(path.read_text(encoding="utf-8"))
    return NightFigures(
        document["command"],
        document["finished_at"],
        Machine(**document["machine"]),
        [Scene.from_json(one) for one in document["scenes"]],
        [Timing(**one) for one in document["timings"]],
        [Check(**one) for one in document["checks"]],
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}") if abs(value) < 1000 else round(value)
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return value
