"""A drop's night at its full size: 100,000 people for 999 numbers, one scene for each way that a drop sells.

direct  who mints first has a number; beside the suite Node and Go
hold    who takes a hold first; some pay too late, some never, and their numbers come back
draw    all enter, the numbers are drawn by the development beacon, and those who are drawn pay

People poll the drop, attempt, wait as long as `Retry-After` says, pay, and send their receipt again. The program that
sends all this shares the cores with what is measured; its processor time is shown beside the rest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from rich.console import Console
from rich.table import Table

from services.draw import maths
from tests.bench import arena, crowd, hold_drops, sql
from tests.bench.arena import Arena
from tests.bench.checks import RUN_COUNTS, Checks
from tests.bench.crowd import HOLD_S, OFFER_S, People, Scene, Timing
from tests.bench.drops import YEAR, BenchDrop
from tests.bench.report import parts
from tests.bench.rounds import Progress, new_run
from tests.bench.subject import BASELINE, GO, SUITE, Subject
from tests.bench.usage import cpu_by_name
from tests.development_draw import announce_draw
from vyris.client import Client

ALL_PEOPLE, NUMBERS = 100_000, 999
LATE, LEAVE = 0.03, 0.12
GRACE_S = 2
SALE_AFTER_ROUND_S = 90
# After its time and grace a hold is taken back within a second.
TAKEN_BACK_S = 1.5
ENTER_WITHIN_S, OFFER_WITHIN_S, RESULT_WITHIN_S = 60.0, 10.0, 0.001
ROUND_AFTER_S = 20.0


@dataclass
class Night:
    """One run."""

    arena: Arena
    people: int
    numbers: int
    on_progress: Progress
    over_s: float = 0.0  # people arrive within it
    checks: Checks = field(default_factory=Checks)
    scenes: list[Scene] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)

    def direct(self) -> None:
        """The direct sale, of each subject."""
        drop = BenchDrop("night-direct", self.numbers)
        self.arena.create_drop(drop)
        for subject in self.arena.subjects.values():
            minted = self._play("direct", subject, drop.tier, People(self.people, over_s=self.over_s))
            self._all_sold(subject, "direct", minted)

    def hold(self) -> None:
        """The sale by hold."""
        suite = self.arena.subjects[SUITE]
        hold_drops.create_hold_drop(self.arena.stack.database_url, "night-hold", self.numbers, HOLD_S)
        people = People(
            self.people,
            over_s=self.over_s,
            late_s=HOLD_S + GRACE_S + TAKEN_BACK_S,
            late_share=LATE,
            leave_share=LEAVE,
        )
        self._all_sold(suite, "hold", self._play("hold", suite, "night-hold", people))

    def draw(self) -> None:
        """The draw."""
        suite = self.arena.subjects[SUITE]
        # Twice the time that is asked. On a machine that is busier than that, those who came in time are drawn.
        open_s = 15 + self.over_s + 2 * ENTER_WITHIN_S * self.people / ALL_PEOPLE
        asyncio.run(self._announce(open_s))
        people = People(
            self.people,
            over_s=self.over_s,
            late_s=OFFER_S + GRACE_S + TAKEN_BACK_S,
            look_after_s=open_s + ROUND_AFTER_S,
            late_share=LATE,
            leave_share=LEAVE,
        )
        with ThreadPoolExecutor(1) as beside:
            observed = beside.submit(self._observe_draw)
            minted = self._play("draw", suite, "night-draw", people)
            entered = observed.result()
        entries = self.scenes[-1].crowd.answers["enter 201"]
        self.checks.note(
            "every answer of ENTERED is in the tree, and nothing else",
            passed=entered == entries.count,
            detail=f"{entries.count} answers of 201, {entered} leaves",
        )
        self.checks.note(
            "draw: no number is minted twice", passed=minted <= self.numbers, detail=f"{minted} of {self.numbers}"
        )
        within_s = self.over_s + ENTER_WITHIN_S * self.people / ALL_PEOPLE
        self.timings.append(Timing(f"{self.people:,} people enter through the gateway", entries.last_s, within_s))

    async def _announce(self, open_s: float) -> None:
        stack = self.arena.stack
        connection = await asyncpg.connect(stack.database_url)
        try:
            await announce_draw(
                connection,
                stack,
                ("night-draw", YEAR),
                self.numbers,
                open_s=open_s,
                round_after_s=ROUND_AFTER_S,
                offer_s=OFFER_S,
                sale=timedelta(seconds=ROUND_AFTER_S + SALE_AFTER_ROUND_S),
            )
        finally:
            await connection.close()

    def _observe_draw(self) -> int:
        """Look at the draw beside the crowd: how soon the root and the offers are there. How many entries it has."""
        drop = ("night-draw", YEAR)
        with Client(self.arena.stack.gateway_grpc_target) as client:
            entry = client.enter(*drop, "observer").entry
            before = cpu_by_name(self.arena.subjects[SUITE].processes)
            _wait_until(client.get_draw(*drop).document.entries_close)
            self._tell_cpu_of_entries(before)
            began_s = time.monotonic()
            committed = _wait_for(client, drop, "COMMITTED").document
            closing_s = time.monotonic() - began_s
            _wait_until(committed.beacon.round_at)
            began_s = time.monotonic()
            drawn = _wait_for(client, drop, "DRAWN")
            drawing_s = time.monotonic() - began_s
        what = "from the close to the root, and from the round to all offers"
        self.timings.append(Timing(what, closing_s + drawing_s, OFFER_WITHIN_S))
        began_s = time.perf_counter()
        result = drawn.result(entry)
        took_s = time.perf_counter() - began_s
        self.timings.append(Timing("own result, without a request", took_s, RESULT_WITHIN_S))
        seed, cutoff = bytes.fromhex(drawn.document.seed), bytes.fromhex(drawn.document.cutoff)
        own = maths.has_offer(seed, cutoff, bytes.fromhex(entry.leaf_hash))
        self.checks.note("the client's result is the draw's", passed=own == (result == "OFFERED"), detail=str(result))
        return int(committed.entries) - 1

    def _tell_cpu_of_entries(self, before: dict[str, float]) -> None:
        """Until the crowd looks at the draw, all it did was to enter."""
        after = cpu_by_name(self.arena.subjects[SUITE].processes)
        per_person = 1e6 / self.people
        used = {name: (after[name] - before[name]) * per_person for name in before}
        self.on_progress(f"CPU of an entry: {sum(used.values()):.0f} µs: {parts(used)}")

    def _play(self, sale: str, subject: Subject, tier: str, people: People) -> int:
        """Send the crowd; how many have a membership in the database."""
        run, before = new_run(), cpu_by_name(subject.processes)
        seen = crowd.send(subject.url, sale, tier, run, people)
        after = cpu_by_name(subject.processes)
        cpu_us = {name: (after[name] - before[name]) * 1e6 / people.count for name in before}
        self.scenes.append(Scene(sale, subject.name, people.count, seen, cpu_us))
        self.on_progress(f"{sale}, {subject.name}: the last of {people.count} had an answer after {seen.ended_s:.1f} s")
        counts = sql.fetch(subject.database_url, RUN_COUNTS, f"user-{run}-%")[0]
        self.checks.note(
            f"{sale}, {subject.name}: everybody has an answer, and all who won a membership",
            passed=seen.ended("failed") == seen.ended("undecided") == 0
            and seen.ended("won") == counts["memberships"] == counts["numbers"],
            detail=f"{seen.ended('won')} won, {counts['memberships']} memberships, {counts['numbers']} numbers; "
            f"{seen.ended('failed')} failed, {seen.ended('undecided')} have no answer",
        )
        return int(counts["memberships"])

    def _all_sold(self, subject: Subject, sale: str, minted: int) -> None:
        self.checks.note(
            f"{sale}, {subject.name}: each number is minted",
            passed=minted == min(self.numbers, self.people),
            detail=f"{minted} of {self.numbers}",
        )


def _wait_for(client: Client, drop: tuple[str, str], state: str) -> Any:
    while (draw := client.get_draw(*drop)).state != state:
        time.sleep(0.05)
    return draw


def _wait_until(moment: str) -> None:
    time.sleep(max(0.0, datetime.fromisoformat(moment).timestamp() - time.time()))


SECTIONS: dict[str, Callable[[Night], None]] = {"direct": Night.direct, "hold": Night.hold, "draw": Night.draw}


def run(people: int, over_s: float, sections: tuple[str, ...], names: list[str], on_progress: Progress) -> Night:
    """Start suite and baselines, play the night, stop everything. Raises MissingTool."""
    wanted = names or ([SUITE, BASELINE, GO] if "direct" in sections else [SUITE])
    with arena.running(wanted, {"HOLD_GRACE_S": str(GRACE_S)}) as running:
        night = Night(running, people, NUMBERS, on_progress, over_s)
        for name in sections:
            SECTIONS[name](night)
        return night


def show(scenes: list[Scene], console: Console) -> None:
    """What a person cost and how long people waited; the answers of each scene."""
    table = Table(
        "",
        "last answer s",
        "requests",
        "CPU µs",
        "by process",
        "crowd's µs",
        "won",
        "p50, p99 s",
        "lost",
        "p50, p99 s",
    )
    for one in scenes:
        table.add_row(
            f"{one.sale}, {one.subject}",
            f"{one.crowd.ended_s:.1f}",
            f"{one.crowd.requests / one.people:.2f}",
            f"{one.all_cpu_us:.0f}",
            parts(one.cpu_us),
            f"{one.crowd.generator_cpu_s * 1e6 / one.people:.0f}",
            str(one.crowd.ended("won")),
            one.crowd.waits("won"),
            str(one.crowd.ended("lost")),
            one.crowd.waits("lost"),
        )
    console.print(table)
    for one in scenes:
        answers = Table(f"{one.sale}, {one.subject}", "answers", "p50 ms", "p99 ms", "last s")
        for name, seen in one.crowd.answers.items():
            answers.add_row(name, str(seen.count), f"{seen.p50_ms:.1f}", f"{seen.p99_ms:.1f}", f"{seen.last_s:.1f}")
        console.print(answers)
