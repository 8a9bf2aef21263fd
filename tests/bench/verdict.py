"""Compare the figures with the suite's required values and its aims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.checks import Check
from tests.bench.crowd import Timing
from tests.bench.figures import CoreFigures, FullFigures
from tests.bench.loads import BESIDE_NATIVE, NATIVE, PAGE, POLL, SOLD_OUT
from tests.bench.measurement import Summary
from tests.bench.subject import BASELINE, CEILING, GO, PLAIN, SUITE
from tests.bench.usage import is_service

# What the architecture's own measurement saw: a well-written baseline made 1,600 to 1,750 mints a second where pgbench
# made 32,000 of 64 a transaction and 1,800 of one a transaction. The first of these ratios judges: a busy baseline and
# full batches are both limited by the processor, one receipt a transaction by how fast the disk flushes the log, which
# differs between machines more than anything else. The second is shown beside it.
SEEN_BASELINE, SEEN_BATCHED, SEEN_SINGLE = 1_675, 32_000, 1_800
BATCH = 64
WORTHY = 0.9


@dataclass(frozen=True)
class Target:
    """One line: a figure, its required value and its aim."""

    what: str
    figure: float
    must: float
    aim: float
    unit: str = "x"
    smaller_is_better: bool = False
    # The same figure of an empty RPC, which no service behind this gateway passes; None where it says nothing.
    limit: float | None = None

    def reaches(self, bound: float) -> bool:
        """Whether the figure is on the right side of a bound."""
        return self.figure <= bound if self.smaller_is_better else self.figure >= bound

    @property
    def verdict(self) -> str:
        """`aim`, `must` or `missed`."""
        return "aim" if self.reaches(self.aim) else "must" if self.reaches(self.must) else "missed"


@dataclass(frozen=True)
class Ratio:
    """A figure of one line of the table in ratio to that of another."""

    what: str
    workload: str
    connections: int
    of: str  # subject
    must: float
    aim: float
    field: str = "rate"
    mine: str = SUITE
    # Where the other line is one of another workload.
    other_workload: str = ""

    def judged(self, core: CoreFigures) -> Target | None:
        """The line with its figure; None if the run did not measure it."""
        first = core.find(self.workload, self.connections, self.mine)
        second = core.find(self.other_workload or self.workload, self.connections, self.of)
        if first is None or second is None:
            return None
        peer = getattr(second, self.field)
        empty = core.find("mint", self.connections, CEILING) if self.of in {BASELINE, GO} else None
        return Target(
            self.what,
            getattr(first, self.field) / peer,
            self.must,
            self.aim,
            smaller_is_better=self.field != "rate",
            limit=getattr(empty, self.field) / peer if empty else None,
        )


RATIOS = (
    Ratio("mint, 64 connections, of the baseline's rate", "mint", 64, BASELINE, 3.0, 4.0),
    Ratio("mint, 256 connections, of the baseline's rate", "mint", 256, BASELINE, 3.2, 4.5),
    Ratio("mint, 64 connections, of Go's rate", "mint", 64, GO, 0.33, 0.5),
    Ratio("p99 at 64 connections, of the baseline's", "mint", 64, BASELINE, 0.7, 0.5, "p99_ms"),
    Ratio("p99 at 256 connections, of the baseline's", "mint", 256, BASELINE, 0.7, 0.5, "p99_ms"),
    Ratio("empty RPC, of plain grpc.aio's rate", "mint", 64, PLAIN, 1.3, 1.6, mine=CEILING),
    Ratio("one connection, p50, of the baseline's", "mint", 1, BASELINE, 1.2, 1.0, "p50_ms"),
    Ratio("sold-out storm, of Go's rate", SOLD_OUT, 64, GO, 0.35, 0.5),
    Ratio("sold-out storm, of the empty RPC's rate", SOLD_OUT, 64, CEILING, 0.75, 0.9),
    Ratio("replay, of Go's rate", "replay", 64, GO, 0.3, 0.4),
    Ratio("replay, of the empty RPC's rate", "replay", 64, CEILING, 0.8, 0.95),
    Ratio("polls of a drop, of a static page's rate", POLL, 64, SUITE, 0.8, 0.95, other_workload=PAGE),
    Ratio("encounter verify, of the baseline's rate", "encounter verify", 64, BASELINE, 1.3, 1.6),
    Ratio("native gRPC callers, of the JSON rate", NATIVE, 64, SUITE, 1.2, 1.5, other_workload=BESIDE_NATIVE),
)


def targets(core: CoreFigures) -> list[Target]:
    """All lines of which the core run has the figures."""
    lines = [*(ratio.judged(core) for ratio in RATIOS), _added_cpu(core), _memory(core)]
    return [line for line in lines if line is not None]


def growth_targets(full: FullFigures) -> list[Target]:
    """All lines of which the full run has the figures."""
    lines = []
    ratio = full.size_ratio()
    if ratio is not None:
        lines.append(Target("pool and ledger of 10^7, of the rate at 10^4", ratio, 0.9, 0.97))
    if full.soak:
        largest = max(_largest_service(sample.memory_mib) for sample in full.soak)
        lines.append(Target("memory of the largest service over the soak", largest, 150, 100, "MB", True))
    return lines


def night_targets(timings: list[Timing]) -> list[Target]:
    """How long the steps of a night took."""
    return [Target(one.what, one.took_s, one.within_s, one.within_s / 2, "s", True) for one in timings]


def _added_cpu(core: CoreFigures) -> Target | None:
    mine, empty = core.find("mint", 64, SUITE), core.find("mint", 64, CEILING)
    if mine is None or empty is None:
        return None
    added = mine.all_cpu_us - empty.all_cpu_us
    return Target("CPU that a mint adds to an empty RPC, all processes", added, 150, 90, "µs", smaller_is_better=True)


def _memory(core: CoreFigures) -> Target | None:
    mine = core.find("mint", 256, SUITE)
    if mine is None:
        return None
    largest = _largest_service(mine.memory_mib)
    return Target("memory of the largest service at 256 connections", largest, 150, 100, "MB", smaller_is_better=True)


def _largest_service(memory_mib: dict[str, float]) -> float:
    return max(mib for name, mib in memory_mib.items() if is_service(name))


def worthiness(core: CoreFigures) -> list[Check]:
    """Whether the baseline is worth comparing with."""
    by_batch = {one.batch: one.mints_per_s for one in core.database}
    if not {1, BATCH} <= by_batch.keys():
        return []
    batched, single = by_batch[BATCH], by_batch[1]
    seen: list[Summary | None] = [core.find("mint", connections, BASELINE) for connections in (64, 256)]
    describe: Callable[[Summary], Check] = lambda one: Check(  # noqa: E731
        f"the baseline is worthy at {one.connections} connections",
        one.rate / batched >= WORTHY * SEEN_BASELINE / SEEN_BATCHED,
        f"{one.rate:.0f} mints/s are {one.rate / batched:.3f} of pgbench's {batched:.0f} with {BATCH} a transaction "
        f"({SEEN_BASELINE / SEEN_BATCHED:.3f} was seen elsewhere, nine tenths are needed) and {one.rate / single:.2f} "
        f"of its {single:.0f} with one ({SEEN_BASELINE / SEEN_SINGLE:.2f} was seen on a slower disk)",
    )
    return [describe(one) for one in seen if one is not None]
