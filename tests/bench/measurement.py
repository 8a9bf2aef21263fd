"""One measurement: some seconds of one load on one subject, with what it cost."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.bench.load_result import LoadResult
from tests.bench.loads import Load
from tests.bench.subject import Subject
from tests.bench.usage import children_cpu_s, cpu_by_name, memory_by_name


@dataclass(frozen=True)
class Measurement:
    """What was seen, and the CPU and memory of each process."""

    subject: str
    workload: str
    connections: int
    load: LoadResult
    cpu_us: dict[str, float]  # by process, per answer
    memory_mib: dict[str, float]
    generator_cpu_us: float  # the load generator's own, per answer

    @property
    def all_cpu_us(self) -> float:
        """CPU of all processes per answer; the load generator's is not among them."""
        return sum(self.cpu_us.values())


def measure(
    subject: Subject, load: Load, *, connections: int, seconds: float, during: Callable[[], None] | None = None
) -> Measurement:
    """Load the subject and read its processes' clocks before and after; `during` is called half way."""
    before, generator_before = cpu_by_name(subject.processes), children_cpu_s()
    result = load.send(subject, connections=connections, seconds=seconds, during=during)
    after, generator_after = cpu_by_name(subject.processes), children_cpu_s()
    per_answer = 1e6 / max(result.answers, 1)
    return Measurement(
        subject.name,
        load.workload,
        connections,
        result,
        {name: (after[name] - before[name]) * per_answer for name in before},
        memory_by_name(subject.processes),
        (generator_after - generator_before) * per_answer,
    )


@dataclass(frozen=True)
class Summary:
    """Medians over the rounds of one subject and workload; the spread is the range of the rates."""

    subject: str
    workload: str
    connections: int
    rounds: int
    rate: float
    slowest_rate: float
    fastest_rate: float
    p50_ms: float
    p99_ms: float
    answers: int
    refusals: int
    failures: int
    cpu_us: dict[str, float]
    memory_mib: dict[str, float]
    generator_cpu_us: float

    @property
    def all_cpu_us(self) -> float:
        """CPU of all processes per answer."""
        return sum(self.cpu_us.values())


def summary(rounds: Iterable[Measurement]) -> Summary:
    """Medians of some rounds of one subject, workload and number of connections."""
    seen = list(rounds)
    first, rates = seen[0], [one.load.rate for one in seen]
    return Summary(
        first.subject,
        first.workload,
        first.connections,
        len(seen),
        rate=statistics.median(rates),
        slowest_rate=min(rates),
        fastest_rate=max(rates),
        p50_ms=statistics.median(one.load.p50_us for one in seen) / 1000,
        p99_ms=statistics.median(one.load.p99_us for one in seen) / 1000,
        answers=sum(one.load.answers for one in seen),
        refusals=sum(one.load.refusals for one in seen),
        failures=sum(one.load.broken + one.load.timeouts for one in seen),
        cpu_us={name: statistics.median(one.cpu_us[name] for one in seen) for name in first.cpu_us},
        generator_cpu_us=statistics.median(one.generator_cpu_us for one in seen),
        memory_mib={name: max(one.memory_mib.get(name, 0.0) for one in seen) for name in first.memory_mib},
    )
