"""The table at the end of a campaign."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from rich.table import Table

from tests.chaos.run import RunResult


def by_fault(results: Sequence[RunResult]) -> Table:
    """One row a fault kind: how often, operations of the runs that had it, violations, time to recover."""
    table = Table(title=title(results))
    for column in (
        "fault",
        "injected",
        "runs",
        "operations",
        "violations",
        "serving again, worst s",
        "drift 0, worst s",
    ):
        table.add_column(column, justify="left" if column == "fault" else "right")
    injected: Counter[str] = Counter()
    runs: dict[str, list[RunResult]] = defaultdict(list)
    for result in results:
        injected.update(result.faults)
        for kind in result.faults:
            runs[kind].append(result)
    for kind in sorted(runs):
        met = runs[kind]
        table.add_row(
            kind.replace("_", " "),
            str(injected[kind]),
            str(len(met)),
            f"{sum(r.operations for r in met):,}",
            str(sum(len(r.violations) for r in met)),
            f"{max(r.serving_after_s for r in met):.1f}",
            f"{max(r.drift_zero_after_s if r.drift_zero_after_s is not None else float('inf') for r in met):.1f}",
        )
    return table


def title(results: Sequence[RunResult]) -> str:
    """The totals in a line."""
    failed = [result.seed for result in results if result.violations]
    return (
        f"{len(results)} runs, {sum(sum(r.faults.values()) for r in results)} faults, "
        f"{sum(r.operations for r in results):,} operations, {sum(r.mints for r in results):,} mints, "
        f"{sum(r.unknown for r in results):,} of unknown outcome, "
        f"{sum(len(r.violations) for r in results)} violations" + (f" (seeds {failed})" if failed else "")
    )
