"""The core table: every workload, suite, baseline and ceiling side by side, in about half an hour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.bench import arena, database_limit, encounter_tokens, loads, passes
from tests.bench.arena import Arena
from tests.bench.checks import Checks, RevokedDuringRun
from tests.bench.comparison import Comparison
from tests.bench.drops import BenchDrop
from tests.bench.loads import Load
from tests.bench.measurement import Measurement, Summary, measure
from tests.bench.rounds import WARM_UP_S, Contender, Progress, comparisons, interleaved, new_run, summaries
from tests.bench.subject import BASELINE, CEILING, GO, PLAIN, SUITE, Subject

TIER, SOLD_OUT_TIER, PGBENCH_TIER = "bench", "bench-sold-out", "bench-database"
# Twice what the suite mints on a machine of today. Go, which is faster, has fewer of the measurements.
MINTS_A_SECOND = 8_000
MINT_CONNECTIONS = (1, 16, 64, 256)
CONNECTIONS = 64
# The baseline needs tens of milliseconds for a pass: more connections would only measure its queue.
PASS_CONNECTIONS = 4
SEED_S = 3
# What is signed beforehand for one second of encounters; no machine of today verifies more.
ENCOUNTERS_A_SECOND = 5_000
# One request of a hundred on a drop day.
DROP_DAY_ENCOUNTERS_A_SECOND = 100


@dataclass(frozen=True)
class Length:
    """How long to measure, and what."""

    seconds: int = 3
    rounds: int = 3
    # So many, until the ratios are certain to 5 %.
    most_rounds: int = 12
    sections: tuple[str, ...] = (
        "mint",
        "control",
        "native",
        "replay",
        "sold-out",
        "polls",
        "encounter",
        "issue-pass",
        "drop-day",
    )


@dataclass
class Core:
    """One run of the core table."""

    arena: Arena
    length: Length
    on_progress: Progress
    checks: Checks = field(default_factory=Checks)
    seen: list[Measurement] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    limits: list[database_limit.DatabaseLimit] = field(default_factory=list)
    # By subject: the run whose receipts are replayed, and how many of them.
    seeded: dict[str, tuple[str, int]] = field(default_factory=dict)

    def run(self) -> None:
        """Measure everything."""
        measurements = self.length.most_rounds * (len(MINT_CONNECTIONS) + 4)
        self.arena.create_drop(BenchDrop(TIER, measurements * (self.length.seconds + WARM_UP_S) * MINTS_A_SECOND))
        self.arena.create_drop(BenchDrop(SOLD_OUT_TIER, 0))
        pgbench_slots = len(MINT_CONNECTIONS) * database_limit.receipts_needed()
        self.arena.create_drop(BenchDrop(PGBENCH_TIER, pgbench_slots), only=SUITE)
        self.on_progress("the drops are there")
        self.checks.durable(self.arena.stack.database_url)
        for subject in self.arena.subjects.values():
            self._seed(subject)
        for name in self.length.sections:
            SECTIONS[name](self)

    @property
    def summaries(self) -> list[Summary]:
        """Medians over the rounds."""
        return summaries(self.seen)

    def mint(self) -> None:
        """Mints at 1 to 256 connections, and what Postgres alone does in between."""
        for connections in MINT_CONNECTIONS:
            plain = [PLAIN] if connections == CONNECTIONS else []
            self._mints([SUITE, BASELINE, GO, CEILING, *plain], connections)
            self._database()

    def control(self) -> None:
        """Two stacks of this checkout: what they differ by is the error of all ratios."""
        with self.arena.copy_of_suite() as copy:
            suite = self._named(SUITE)[0]
            loads_of = partial(loads.mints, tier=TIER, workload="mint, control")
            self._measure([Contender(one, loads_of, partial(self.checks.mints, one)) for one in (suite, copy)])

    def replay(self) -> None:
        """Receipts that were fulfilled before."""
        self._measure([self._replays(subject) for subject in self._named(SUITE, BASELINE, GO, CEILING)])

    def sold_out(self) -> None:
        """New receipts for a drop that is sold out."""
        self._measure([self._sold_out(subject) for subject in self._named(SUITE, BASELINE, GO, CEILING)])

    def polls(self) -> None:
        """Polls of a drop beside its static page."""
        suite = self._named(SUITE)[0]
        check: Callable[[str, Measurement], None] = lambda _, measured: self.checks.accepted(suite, measured)  # noqa: E731
        polls, page = loads.polls(TIER), loads.pages(TIER)
        self._measure([Contender(suite, lambda _: polls, check), Contender(suite, lambda _: page, check)])

    def encounter(self) -> None:
        """Encounter tokens, each new."""
        self._measure([self._encounters(subject) for subject in self._named(SUITE, BASELINE)])

    def issue_pass(self) -> None:
        """Signed passes of members."""
        self._measure([self._passes(subject) for subject in self._named(SUITE, BASELINE)], PASS_CONNECTIONS)

    def drop_day(self) -> None:
        """All of it at once, most of it sold out."""
        self._measure([self._drop_day(subject) for subject in self._named(SUITE, BASELINE)])

    def _database(self) -> None:
        self.limits += database_limit.measure(self.arena.stack, PGBENCH_TIER)

    def _named(self, *names: str) -> list[Subject]:
        return [self.arena.subjects[name] for name in names if name in self.arena.subjects]

    def _measure(self, contenders: list[Contender], connections: int = CONNECTIONS) -> None:
        seen = interleaved(
            contenders,
            connections=connections,
            seconds=self.length.seconds,
            rounds=self.length.rounds,
            most_rounds=self.length.most_rounds,
            on_progress=self.on_progress,
        )
        self.seen += seen
        self.comparisons += comparisons(seen, len(contenders))

    def _seed(self, subject: Subject) -> None:
        """Mint what replays ask for, warm everything up, and revoke one receipt beside the load."""
        run = new_run()
        revoked = RevokedDuringRun(subject, self.checks, run, TIER) if subject.database_url else None
        load = loads.mints(run, TIER)
        measured = measure(subject, load, connections=CONNECTIONS, seconds=SEED_S, during=revoked)
        self.seeded[subject.name] = (run, max(1, measured.load.answers - CONNECTIONS))

    def _mints(self, names: list[str], connections: int) -> None:
        self._measure(
            [
                Contender(subject, partial(loads.mints, tier=TIER), partial(self.checks.mints, subject))
                for subject in self._named(*names)
            ],
            connections,
        )

    def native(self) -> None:
        """Native callers beside JSON callers, both through the gateway."""
        suite = self._named(SUITE)[0]
        json_mints = partial(loads.mints, tier=TIER, workload=loads.BESIDE_NATIVE)
        native_mints: Callable[[str], Load] = lambda run: loads.NativeMints(run, TIER)  # noqa: E731
        check = partial(self.checks.mints, suite)
        self._measure([Contender(suite, json_mints, check), Contender(suite, native_mints, check)])

    def _replays(self, subject: Subject) -> Contender:
        run, receipts = self.seeded[subject.name]
        return Contender(
            subject,
            lambda _: loads.replays(run, TIER, receipts),
            lambda _, measured: self.checks.accepted(subject, measured),
        )

    def _sold_out(self, subject: Subject) -> Contender:
        return Contender(
            subject,
            partial(loads.mints, tier=SOLD_OUT_TIER, workload=loads.SOLD_OUT),
            partial(self.checks.sold_out, subject),
        )

    def _encounters(self, subject: Subject) -> Contender:
        known = encounter_tokens.members(subject)

        def load(run: str) -> Load:
            return loads.bodies(
                "encounter verify", "/encounters/verify", str(self._tokens(known, run, ENCOUNTERS_A_SECOND))
            )

        return Contender(subject, load, lambda _, measured: self.checks.accepted(subject, measured))

    def _tokens(self, known: list[str], run: str, a_second: int) -> Path:
        file = self.arena.folder / f"encounters-{run}.txt"
        encounter_tokens.write_bodies(self.arena.stack, known, file, self.length.seconds * a_second)
        return file

    def _passes(self, subject: Subject) -> Contender:
        file = self.arena.folder / f"passes-{subject.name}.txt"
        passes.write_bodies(subject, file)
        return Contender(
            subject,
            lambda _: loads.bodies("issue pass", "/issue-pass", str(file)),
            lambda _, measured: self.checks.accepted(subject, measured),
        )

    def _drop_day(self, subject: Subject) -> Contender:
        seeded_run, receipts = self.seeded[subject.name]
        known = encounter_tokens.members(subject)

        def load(run: str) -> Load:
            file = self._tokens(known, run, DROP_DAY_ENCOUNTERS_A_SECOND)
            return loads.drop_day(run, TIER, SOLD_OUT_TIER, seeded_run, receipts, str(file))

        return Contender(subject, load)


SECTIONS: dict[str, Callable[[Core], None]] = {
    "mint": Core.mint,
    "control": Core.control,
    "native": Core.native,
    "replay": Core.replay,
    "sold-out": Core.sold_out,
    "polls": Core.polls,
    "encounter": Core.encounter,
    "issue-pass": Core.issue_pass,
    "drop-day": Core.drop_day,
}


def run(length: Length, on_progress: Progress) -> Core:
    """Start everything, measure, stop everything. Raises MissingTool."""
    with arena.running([SUITE, BASELINE, GO, CEILING, PLAIN]) as running:
        core = Core(running, length, on_progress)
        core.run()
        return core
