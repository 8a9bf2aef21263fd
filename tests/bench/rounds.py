"""Interleaved rounds: A B C A B C, so that other load on the machine affects all equally."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tests.bench.comparison import Comparison, compare
from tests.bench.loads import Load
from tests.bench.measurement import Measurement, Summary, measure, summary
from tests.bench.subject import Subject

WARM_UP_S = 1

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Contender:
    """A subject with a load.

    Each call of `load_for` gets the name of a new run, so that no two send the same receipts; `check` gets it with
    what was measured, to look at the ledger.
    """

    subject: Subject
    load_for: Callable[[str], Load]
    check: Callable[[str, Measurement], None] | None = None


def interleaved(
    contenders: Sequence[Contender],
    *,
    connections: int,
    seconds: float,
    rounds: int,
    most_rounds: int = 0,
    warm_up_s: float = WARM_UP_S,
    on_progress: Progress = lambda _: None,
) -> list[Measurement]:
    """Run rounds of all contenders; return the measurements in the order of the rounds.

    There are at least `rounds`, and up to `most_rounds` until the ratio of the first contender to each other one lies
    in a narrow interval.
    """
    seen: list[Measurement] = []
    for number in range(max(rounds, most_rounds)):
        if number >= rounds and all(one.is_narrow for one in comparisons(seen, len(contenders))):
            break
        for one in contenders:
            if warm_up_s:
                measure(one.subject, one.load_for(new_run()), connections=connections, seconds=warm_up_s)
            run = new_run()
            measured = measure(one.subject, one.load_for(run), connections=connections, seconds=seconds)
            if one.check is not None:
                one.check(run, measured)
            seen.append(measured)
            on_progress(_line(number + 1, measured))
    for comparison in comparisons(seen, len(contenders)):
        on_progress(str(comparison))
    return seen


def comparisons(seen: Sequence[Measurement], contenders: int) -> list[Comparison]:
    """The first of so many contenders compared with each other one, from measurements in the order of the rounds."""
    return [compare(seen[::contenders], seen[number::contenders]) for number in range(1, contenders)]


def _line(number: int, measured: Measurement) -> str:
    return (
        f"{measured.workload}, {measured.connections} connections, round {number}: {measured.subject:<9}"
        f"{measured.load.rate:>7.0f}/s  p99 {measured.load.p99_us / 1000:>6.1f} ms  {measured.all_cpu_us:>5.0f} µs CPU"
    )


def new_run() -> str:
    """A unique name, which the load's receipts contain."""
    return secrets.token_hex(4)


def summaries(seen: Iterable[Measurement]) -> list[Summary]:
    """One summary for each subject, workload and number of connections, in the order of their first round."""
    groups: dict[tuple[str, int, str], list[Measurement]] = {}
    for one in seen:
        groups.setdefault((one.workload, one.connections, one.subject), []).append(one)
    return [summary(group) for group in groups.values()]
