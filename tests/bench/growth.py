"""How cost grows: with the pool and the ledger, the drops at once, the size of a batch, the connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.bench import loads
from tests.bench.arena import Arena
from tests.bench.drops import BenchDrop
from tests.bench.measurement import Measurement, Summary, measure, summary
from tests.bench.rounds import Contender, Progress, interleaved, new_run, summaries
from tests.bench.scale import Scaled, settle
from tests.bench.subject import SUITE

CONNECTIONS = (1, 4, 16, 64, 256, 1024)
DROPS_AT_ONCE = (1, 2, 4, 8)
BATCH_LIMITS = (1, 4, 16, 64, 256)
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
SIZE_ROUNDS = 7
# A pool of ten thousand must last longer than a round.
SIZE_ROUND_S = 1
# Pools up to this size are new in each round.
SHORT_LIVED = 100_000
BATCH_CONNECTIONS = 256
LOAD_CONNECTIONS = 64


@dataclass(frozen=True)
class Point:
    """One measurement on a curve."""

    at: float
    rate: float
    slowest_rate: float
    fastest_rate: float
    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, at: float, seen: Summary) -> Point:
        """The point that a summary of mints makes: what was shed is no mint."""
        served = 1 - seen.refusals / seen.answers
        rates = (seen.rate * served, seen.slowest_rate * served, seen.fastest_rate * served)
        return cls(at, *rates, seen.p50_ms, seen.p99_ms)


@dataclass(frozen=True)
class Curve:
    """Rates and times along one axis."""

    name: str  # of the plot's file
    title: str
    axis: str
    logarithmic: bool
    points: list[Point]

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Curve:
        """The curve that `dataclasses.asdict` wrote."""
        return cls(**{**document, "points": [Point(**one) for one in document["points"]]})


@dataclass(frozen=True)
class Growth:
    """Measures the curves, each with interleaved rounds where its points can stand side by side."""

    arena: Arena
    tier: str
    seconds: int
    rounds: int
    on_progress: Progress

    def by_connections(self) -> Curve:
        """1 to 1,024 connections."""
        points = []
        for connections in CONNECTIONS:
            seen = self._measured(Contender(self._suite, lambda run: loads.mints(run, self.tier)), connections)
            points.append(Point.of(connections, seen))
        return Curve("growth-connections", "Mints by connections", "connections", True, points)

    def by_drops(self) -> Curve:
        """1 to 8 drops at once, in interleaved rounds."""
        tiers = [f"many-{number}" for number in range(max(DROPS_AT_ONCE))]
        for tier in tiers:
            self.arena.create_drop(BenchDrop(tier, self.seconds * self.rounds * 20_000), only=SUITE)

        def contender(count: int) -> Contender:
            chosen = ",".join(tiers[:count])
            return Contender(self._suite, lambda run: loads.mints(run, chosen, f"{count} drops"))

        seen = summaries(self._interleaved([contender(count) for count in DROPS_AT_ONCE], LOAD_CONNECTIONS))
        points = [Point.of(count, one) for count, one in zip(DROPS_AT_ONCE, seen, strict=True)]
        return Curve("growth-drops", "Mints by drops at once", "drops", False, points)

    def by_batch_limit(self) -> Curve:
        """The mint service restarted with other batch limits."""
        points = []
        for limit in BATCH_LIMITS:
            self.arena.stack.restart("mint", environment={"MINT_BATCH_LIMIT": str(limit)})
            suite = self.arena.refreshed_suite()
            seen = self._measured(Contender(suite, lambda run: loads.mints(run, self.tier)), BATCH_CONNECTIONS)
            points.append(Point.of(limit, seen))
        self.arena.stack.restart("mint")
        return Curve("growth-batch", f"Mints by batch limit, {BATCH_CONNECTIONS} connections", "receipts", True, points)

    def by_size(self, suites: list[Scaled]) -> Curve:
        """Pools and ledgers of 10^4 to 10^7, seven interleaved rounds."""
        lasting = {suite.size: suite.create_pool("0") for suite in suites if suite.size > SHORT_LIVED}
        settle(self.arena.stack)
        seen: dict[int, list[Measurement]] = {suite.size: [] for suite in suites}
        for number in range(1, SIZE_ROUNDS + 1):
            for suite in suites:
                tier = lasting.get(suite.size) or suite.create_pool(str(number))
                load = loads.mints(new_run(), tier)
                one = measure(suite.subject, load, connections=LOAD_CONNECTIONS, seconds=SIZE_ROUND_S)
                seen[suite.size].append(one)
                self.on_progress(f"pool and ledger of {suite.size}, round {number}: {one.load.rate:.0f}/s")
        points = [Point.of(size, summary(rounds)) for size, rounds in seen.items()]
        return Curve("growth-size", "Mints by pool and ledger", "slots and receipts", True, points)

    @property
    def _suite(self) -> Any:
        return self.arena.refreshed_suite()

    def _measured(self, contender: Contender, connections: int) -> Summary:
        return summary(self._interleaved([contender], connections))

    def _interleaved(self, contenders: list[Contender], connections: int) -> list[Measurement]:
        return interleaved(
            contenders,
            connections=connections,
            seconds=self.seconds,
            rounds=self.rounds,
            on_progress=self.on_progress,
        )
