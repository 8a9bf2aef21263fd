"""A quick look: one workload, suite, baseline and ceiling side by side, CPU by process."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from tests.bench import arena, loads, rounds
from tests.bench.drops import BenchDrop
from tests.bench.measurement import Summary, measure
from tests.bench.subject import AIO, BASELINE, CEILING, COPY, GO, SUITE, Subject

# More than any subject of today.
MINTS_A_SECOND = 12_000
TIER = "bench"
SEED_S = 2

console = Console(width=140)


def run(workload: str, names: list[str], *, connections: int, seconds: int, count: int, most: int) -> list[Summary]:
    """Measure `mint`, `replay` or `sold-out` and print what it costs. Raises MissingTool."""
    with arena.running(names or [SUITE, BASELINE, CEILING]) as running:
        capacity = (SEED_S + max(count, most) * (seconds + rounds.WARM_UP_S)) * MINTS_A_SECOND
        running.create_drop(BenchDrop(TIER, 0 if workload == "sold-out" else capacity))
        seen = rounds.interleaved(
            [_contender(workload, subject, connections) for subject in running.subjects.values()],
            connections=connections,
            seconds=seconds,
            rounds=count,
            most_rounds=most,
            on_progress=console.print,
        )
    found = rounds.summaries(seen)
    show(found)
    return found


def _contender(workload: str, subject: Subject, connections: int) -> rounds.Contender:
    if workload != "replay":
        return rounds.Contender(subject, lambda run: loads.mints(run, TIER, workload))
    seeded = rounds.new_run()
    minted = measure(subject, loads.mints(seeded, TIER), connections=connections, seconds=SEED_S)
    receipts = max(1, minted.load.answers - connections)
    return rounds.Contender(subject, lambda _: loads.replays(seeded, TIER, receipts))


def show(found: list[Summary]) -> None:
    """Rates, times, CPU per answer by process, and the ratios that matter."""
    table = Table("", "rate /s", "range", "p50 ms", "p99 ms", "CPU µs", "by process")
    for one in found:
        parts = sorted(((us, name) for name, us in one.cpu_us.items() if us >= 1), reverse=True)
        table.add_row(
            f"{one.subject}, {one.workload}, {one.connections}",
            f"{one.rate:.0f}",
            f"{one.slowest_rate:.0f}-{one.fastest_rate:.0f}",
            f"{one.p50_ms:.1f}",
            f"{one.p99_ms:.1f}",
            f"{one.all_cpu_us:.0f}",
            " ".join(f"{name} {us:.0f}" for us, name in parts),
        )
    console.print(table)
    for one in found:
        memory = " ".join(f"{name} {mib:.0f}" for name, mib in one.memory_mib.items())
        console.print(
            f"{one.subject}: {one.answers} answers, {one.refusals} refusals, {one.failures} failures; "
            f"load generator {one.generator_cpu_us:.0f} µs; MiB: {memory}"
        )
    if len({(one.workload, one.connections) for one in found}) > 1:
        return
    by_name = {one.subject: one for one in found}
    suite = by_name.get(SUITE)
    for other in (BASELINE, GO, CEILING, AIO, COPY):
        if suite and other in by_name:
            peer = by_name[other]
            console.print(
                f"suite / {other}: rate {suite.rate / peer.rate:.2f}, p99 {suite.p99_ms / peer.p99_ms:.2f}, "
                f"CPU {suite.all_cpu_us - peer.all_cpu_us:+.0f} µs"
            )
