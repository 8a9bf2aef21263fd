"""A soak: steady load for a long time, with memory and latency sampled again and again."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from tests.bench import loads
from tests.bench.measurement import measure
from tests.bench.rounds import Progress, new_run
from tests.bench.subject import Subject
from tests.bench.usage import is_service


@dataclass(frozen=True)
class Sample:
    """Some seconds of the soak."""

    minute: float
    rate: float
    p50_ms: float
    p99_ms: float
    memory_mib: dict[str, float]


def soak(
    subject: Subject, tier: str, *, connections: int, minutes: float, sample_s: int, on_progress: Progress
) -> list[Sample]:
    """Mint without a pause, in samples of `sample_s` seconds."""
    samples: list[Sample] = []
    elapsed_s = 0.0
    while elapsed_s < minutes * 60:
        seen = measure(subject, loads.mints(new_run(), tier), connections=connections, seconds=sample_s)
        elapsed_s += seen.load.seconds
        samples.append(
            Sample(elapsed_s / 60, seen.load.rate, seen.load.p50_us / 1000, seen.load.p99_us / 1000, seen.memory_mib)
        )
        on_progress(f"soak, minute {elapsed_s / 60:.1f}: {seen.load.rate:.0f}/s")
    return samples


def memory_growth(samples: list[Sample]) -> dict[str, float]:
    """Memory of each service and the gateway in the last third of the soak, in ratio to the first but its first sample.

    The databases grow with the mints; these processes must not grow.
    """
    third = max(1, len(samples) // 3)
    first, last = samples[1 : 1 + third] or samples, samples[-third:]
    return {
        name: statistics.median(one.memory_mib[name] for one in last)
        / statistics.median(one.memory_mib[name] for one in first)
        for name in samples[0].memory_mib
        if is_service(name) or name == "gateway"
    }
