"""What a drop that sells by hold must cost: refusals, mints through holds, polls. One run, in turns.

refusals  a storm of takers for numbers that are all held, beside an empty RPC; whether it writes to Postgres
mints     mints through holds beside mints in a drop that sells directly
polls     GET /drops/{tier}/{year} beside a static page of the same gateway; what polls cost mint and Postgres, and how
          soon a change is visible
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import httpx

from tests.bench import arena, hold_drops, loads, sql
from tests.bench.arena import Arena
from tests.bench.checks import SETTLE_S, Checks
from tests.bench.drops import YEAR, BenchDrop
from tests.bench.loads import Load
from tests.bench.measurement import Measurement, Summary, measure
from tests.bench.rounds import WARM_UP_S, Contender, Progress, interleaved, new_run, summaries
from tests.bench.subject import CEILING, SUITE, Subject
from tests.bench.verdict import Target

CONNECTIONS = 64
NUMBERS, TAKERS = 999, 20_000
NIGHT_TIER, HOLD_TIER, DIRECT_TIER = "night", "bench-hold", "bench"
# More than any machine of today mints.
MINTS_A_SECOND = 5_000
STATISTICS_S = 1.5  # Postgres' processes report their counts at most once a second
FEW, MANY, POLLED_S = 4, 64, 8
VISIBLE_LIMIT_S = 1.0
CHANGES = 5
DIRECTLY, THROUGH_HOLDS = "mint directly", "mint through a hold"
POLLED_TIER = "polled"

# Only a transaction that writes takes an id.
WRITING_TRANSACTIONS = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
HELD = """SELECT greatest((SELECT count(*) FROM holds WHERE drop_id = d.id),
                        (SELECT count(*) FROM person_keys WHERE drop_id = d.id)) FROM drops d WHERE tier = $1"""
STATEMENTS = "SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database WHERE datname = current_database()"
GET_DROP_CALLS = re.compile(r'^vyris_rpc_seconds_count\{[^}]*method="[^"]*/GetDrop"[^}]*\} (\S+)$', re.MULTILINE)


@dataclass
class FairDrops:
    """One run."""

    arena: Arena
    seconds: int
    rounds: int
    on_progress: Progress
    checks: Checks = field(default_factory=Checks)
    seen: list[Measurement] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)

    def run(self, sections: tuple[str, ...]) -> None:
        """Measure the named sections."""
        for name in sections:
            SECTIONS[name](self)

    @property
    def summaries(self) -> list[Summary]:
        """Medians over the rounds."""
        return summaries(self.seen)

    def refusals(self) -> None:
        """20,000 takers for 999 numbers."""
        suite, ceiling = self.arena.subjects[SUITE], self.arena.subjects[CEILING]
        url = self.arena.stack.database_url
        hold_drops.create_hold_drop(url, NIGHT_TIER, NUMBERS)
        first = measure(suite, loads.takers(new_run(), NIGHT_TIER), connections=CONNECTIONS, seconds=2)
        taken = first.load.answers - first.load.refusals
        self.checks.note("999 takers have a hold", passed=taken == NUMBERS, detail=f"{taken} answers of 201")
        before = sql.value(url, WRITING_TRANSACTIONS)
        seen = self._measure([Contender(one, partial(loads.takers, tier=NIGHT_TIER)) for one in (suite, ceiling)])
        refused = [one.load for one in seen if one.subject == SUITE]
        while first.load.answers + sum(load.answers for load in refused) < TAKERS:
            refused.append(measure(suite, loads.takers(new_run(), NIGHT_TIER), connections=CONNECTIONS, seconds=3).load)
        written = sql.value(url, WRITING_TRANSACTIONS) - before
        refusals = sum(load.refusals for load in refused)
        self.checks.note(
            "every later taker is refused",
            passed=all(load.refusals == load.answers and not load.broken + load.timeouts for load in refused),
            detail=f"{refusals} refusals of {sum(load.answers for load in refused)} answers",
        )
        held = sql.value(url, HELD, NIGHT_TIER)
        self.checks.note(
            "a refusal writes no row",
            # The housekeeping of the suite writes a few times a second.
            passed=written < refusals / 100 and held == NUMBERS,
            detail=f"{written} transactions wrote during {refusals} refusals; {held} holds and keys",
        )
        self._target("refusals of a hold, of the empty RPC's rate", _rate(seen, SUITE) / _rate(seen, CEILING), 0.8, 0.9)

    def mints(self) -> None:
        """Mints through holds and directly."""
        suite, url = self.arena.subjects[SUITE], self.arena.stack.database_url
        each = MINTS_A_SECOND * self.seconds
        capacity = each * 2 * self.rounds
        self.arena.create_drop(BenchDrop(DIRECT_TIER, capacity), only=SUITE)
        drop_id = hold_drops.create_hold_drop(url, HOLD_TIER, capacity)

        def through_holds(run: str) -> Load:
            hold_drops.give_holds(url, drop_id, [f"user-{run}-01-{number:010}" for number in range(1, each + 1)])
            return loads.mints(run, HOLD_TIER, THROUGH_HOLDS)

        def used(run: str, measured: Measurement) -> None:
            self.checks.mints(suite, run, measured)
            left = "SELECT count(*) FROM holds WHERE user_id LIKE $1 AND state = 'USED'"
            count = sql.value(url, left, f"user-{run}-%")
            self.checks.note(
                "every mint used a hold",
                passed=0 <= count - measured.load.answers <= CONNECTIONS,
                detail=f"{count} holds were used, {measured.load.answers} mints answered",
            )

        seen = self._measure(
            [
                Contender(
                    suite,
                    partial(loads.mints, tier=DIRECT_TIER, workload=DIRECTLY),
                    partial(self.checks.mints, suite),
                ),
                Contender(suite, through_holds, used),
            ]
        )
        held, directly = _by_workload(seen, THROUGH_HOLDS), _by_workload(seen, DIRECTLY)
        self._target("mints through holds, of the rate of direct ones", _rate(held) / _rate(directly), 0.97, 1.0)
        cost = statistics.median(one.all_cpu_us for one in held) / statistics.median(one.all_cpu_us for one in directly)
        self._target("processor time of a mint through a hold, of a direct one's", cost, 1.05, 1.0, smaller=True)

    def polls(self) -> None:
        """Polls beside a static page."""
        suite, url = self.arena.subjects[SUITE], self.arena.stack.database_url
        hold_drops.create_hold_drop(url, POLLED_TIER, NUMBERS)
        poll, page = loads.polls(POLLED_TIER), loads.pages(POLLED_TIER)
        seen = self._measure([Contender(suite, lambda _: poll), Contender(suite, lambda _: page)])
        for one in seen:
            self.checks.accepted(suite, one)
        polls, pages = _by_workload(seen, loads.POLL), _by_workload(seen, loads.PAGE)
        self._target("polls, of a static page's rate", _rate(polls) / _rate(pages), 0.8, 1.0)
        self._cost_of_polls(suite, poll)
        self._visible(suite, poll)

    def _cost_of_polls(self, suite: Subject, poll: Load) -> None:
        """Calls of mint and statements of Postgres a second, with few and with many connections."""
        cost = {}
        for connections in (FEW, MANY):
            time.sleep(STATISTICS_S)
            calls, statements = self._get_drop_calls(), sql.value(self.arena.stack.database_url, STATEMENTS)
            measured = measure(suite, poll, connections=connections, seconds=POLLED_S)
            time.sleep(STATISTICS_S)
            elapsed_s = measured.load.seconds
            cost[connections] = (
                measured.load.rate,
                (self._get_drop_calls() - calls) / elapsed_s,
                (sql.value(self.arena.stack.database_url, STATEMENTS) - statements) / elapsed_s,
            )
            self.on_progress(
                "{} connections: {:.0f} polls/s, {:.1f} calls of mint/s, {:.1f} transactions/s".format(
                    connections, *cost[connections]
                )
            )
        (_, few_calls, few_statements), (_, many_calls, many_statements) = cost[FEW], cost[MANY]
        # When a load begins, the cached answer is old, and all connections may ask. Twice: the warm-up is a load too.
        first_calls = 2 * MANY / POLLED_S
        self.checks.note(
            "calls of mint and Postgres do not grow with polls",
            passed=many_calls <= few_calls + first_calls and many_statements <= few_statements + first_calls + 10,
            detail=f"{FEW} and {MANY} connections: {few_calls:.1f} and {many_calls:.1f} calls of mint a second, "
            f"{few_statements:.1f} and {many_statements:.1f} transactions",
        )

    def _visible(self, suite: Subject, poll: Load) -> None:
        """How long a hold takes until a poll shows it, while a crowd polls."""
        waits_s: list[float] = []
        path = f"/drops/{POLLED_TIER}/{YEAR}"

        def change() -> None:
            for number in range(CHANGES):
                taken = httpx.post(f"{suite.url}{path}/holds", json={"user_id": f"one-{number}"}, trust_env=False)
                since_s = time.monotonic()
                if taken.status_code != 201:
                    raise RuntimeError(f"a hold was answered with {taken.status_code}: {taken.text}")
                # Each time over a connection of its own, and so by any of the gateway's workers.
                while httpx.get(f"{suite.url}{path}", trust_env=False).json()["held"] <= number:
                    time.sleep(0.005)
                waits_s.append(time.monotonic() - since_s)

        measure(suite, poll, connections=CONNECTIONS, seconds=4 + 2 * CHANGES, during=change)
        self._target(
            "seconds until a change is visible, at most", max(waits_s), VISIBLE_LIMIT_S, 0.5, "s", smaller=True
        )

    def _get_drop_calls(self) -> float:
        port = self.arena.stack.listens["mint_metrics"]
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        return sum(float(count) for count in GET_DROP_CALLS.findall(metrics))

    def _measure(self, contenders: list[Contender]) -> list[Measurement]:
        seen = interleaved(
            contenders,
            connections=CONNECTIONS,
            seconds=self.seconds,
            rounds=self.rounds,
            warm_up_s=WARM_UP_S,
            on_progress=self.on_progress,
        )
        time.sleep(SETTLE_S)
        self.seen += seen
        return seen

    def _target(
        self, what: str, figure: float, must: float, aim: float, unit: str = "x", *, smaller: bool = False
    ) -> None:
        self.targets.append(Target(what, figure, must, aim, unit, smaller_is_better=smaller))


SECTIONS: dict[str, Callable[[FairDrops], None]] = {
    "refusals": FairDrops.refusals,
    "mints": FairDrops.mints,
    "polls": FairDrops.polls,
}


def _by_workload(seen: list[Measurement], workload: str) -> list[Measurement]:
    return [one for one in seen if one.workload == workload]


def _rate(seen: list[Measurement], subject: str = SUITE) -> float:
    return statistics.median(one.load.rate for one in seen if one.subject == subject)


def run(seconds: int, rounds: int, sections: tuple[str, ...], on_progress: Progress) -> FairDrops:
    """Start suite and empty RPC, measure, stop everything. Raises MissingTool."""
    with arena.running([SUITE, CEILING]) as running:
        measured = FairDrops(running, seconds, rounds, on_progress)
        measured.run(sections)
        return measured
