"""Interleaved rounds: A B C A B C, so that what disturbs the machine disturbs all alike."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence

from tests.bench.measurement import Load, Measurement, Summary, measure, summary
from tests.bench.subject import Subject

WARM_UP_S = 1

# A load for one round: `run` names it, so that no two rounds send the same receipts.
LoadFor = Callable[[str], Load]
Progress = Callable[[str], None]


def interleaved(
    subjects: Sequence[Subject],
    load_for: LoadFor,
    *,
    connections: int,
    seconds: float,
    rounds: int,
    on_progress: Progress = lambda _: None,
) -> list[Measurement]:
    """All rounds of all subjects, in the order in which they ran."""
    seen = []
    for number in range(rounds):
        for subject in subjects:
            measure(subject, load_for(new_run()), connections=connections, seconds=WARM_UP_S)
            one = measure(subject, load_for(new_run()), connections=connections, seconds=seconds)
            seen.append(one)
            on_progress(
                f"{one.workload} {connections:>4} connections, round {number + 1}: {subject.name:<9}"
                f"{one.load.rate:>7.0f}/s  p99 {one.load.p99_us / 1000:>6.1f} ms  {one.all_cpu_us:>5.0f} µs CPU"
            )
    return seen


def new_run() -> str:
    """A name that no other load has: receipts carry it."""
    return secrets.token_hex(4)


def summaries(seen: Iterable[Measurement]) -> list[Summary]:
    """One summary for each subject, workload and number of connections, in the order of their first round."""
    groups: dict[tuple[str, int, str], list[Measurement]] = {}
    for one in seen:
        groups.setdefault((one.workload, one.connections, one.subject), []).append(one)
    return [summary(group) for group in groups.values()]
