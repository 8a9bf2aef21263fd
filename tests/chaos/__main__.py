"""`python -m tests.chaos`: a campaign of seeded runs, and its findings."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import structlog
import typer
from rich.console import Console

from tests.chaos.campaign import Results, campaign_stack, run_seeds
from tests.chaos.checker import check
from tests.chaos.draws import describe, run_draws
from tests.chaos.failover import postgres_address_switches, postgres_fails_over, valkey_master_lost
from tests.chaos.fuzz import run_fuzz
from tests.chaos.history import History
from tests.chaos.overload import run_overload
from tests.chaos.run import RunResult
from tests.chaos.slow_callers import PhaseResult, run_slow_callers
from tests.chaos.table import by_fault

app = typer.Typer(no_args_is_help=False, add_completion=False)
out = Console(width=150)

Folder = Annotated[Path, typer.Option(help="Where results and failing runs are kept; a later campaign adds to them.")]
CapacityLimit = Annotated[int, typer.Option(min=3, help="The largest drop; the smallest has a third of it.")]


@app.callback(invoke_without_command=True)
def campaign(
    context: typer.Context,
    runs: Annotated[
        int, typer.Option(min=1, help="How many runs, beginning after the last seed of earlier ones.")
    ] = 20,
    seed: Annotated[int | None, typer.Option(help="Repeat the run of this seed alone.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Inflict these faults instead of the seed's.")] = None,
    sale: Annotated[
        Literal["direct", "hold"] | None, typer.Option(help="How drops sell; without it every third by hold.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="Begin no further run after so many minutes.")] = 600.0,
    capacity_limit: CapacityLimit = 2_000,
    folder: Folder = Path(".vyris/chaos"),
) -> None:
    """Break things under load and check that nothing is lost."""
    if context.invoked_subcommand:
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    results = Results(folder)
    first = max((result.seed for result in results.read()), default=0) + 1
    until_s = time.monotonic() + 60 * minutes
    seeds = [seed] if seed is not None else range(first, first + runs)
    with campaign_stack() as stack:
        limited = (number for number in seeds if time.monotonic() < until_s)
        run_seeds(
            stack, limited, results, _print_run, capacity_limit=capacity_limit, kinds=tuple(kind or ()), sale=sale
        )
    recorded = results.read()
    out.print(by_fault(recorded))
    out.print(f"Failing runs lie in {folder}; `python -m tests.chaos --seed N` repeats one.")
    raise typer.Exit(any(result.violations for result in recorded))


@app.command()
def recheck(history: Path) -> None:
    """Check a recorded history again."""
    violations = check(History.load(history))
    for violation in violations:
        out.print(f"{violation.rule}: {violation.detail}")
    raise typer.Exit(bool(violations))


@app.command()
def draws(
    runs: Annotated[int, typer.Option(min=1, help="How many runs.")] = 20,
    seed: Annotated[int, typer.Option(help="The seed of the first.")] = 1,
) -> None:
    """Draw under faults, from the entries to the waves."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    failed = 0
    with campaign_stack() as stack:
        for result in run_draws(stack, range(seed, seed + runs)):
            out.print(describe(result), soft_wrap=True, highlight=False, markup=False)
            failed += bool(result.violations)
    out.print(f"{runs} runs, {failed} with violations")
    raise typer.Exit(bool(failed))


@app.command()
def overload(seconds: float = 60.0, factor: float = 5.0, callers: int = 4_000) -> None:
    """Press several times as hard as the suite can serve."""
    result = run_overload(seconds, factor, callers)
    out.print(result)
    for failure in result.failures():
        out.print(f"FAILED: {failure}", style="red")
    raise typer.Exit(bool(result.failures()))


@app.command()
def failover(seed: int = 1, capacity_limit: CapacityLimit = 900) -> None:
    """Promote Postgres' synchronous standby under load, then lose a master of a Valkey cluster."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    failed = False
    for fails_over in (postgres_fails_over, valkey_master_lost):
        result = fails_over(seed, capacity_limit)
        _print_run(result)
        failed = failed or bool(result.violations)
    raise typer.Exit(failed)


@app.command()
def switchover(seed: int = 1, capacity_limit: CapacityLimit = 900) -> None:
    """Lead the one address of Postgres to a standby under load, and promote it later."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    result, switch = postgres_address_switches(seed, capacity_limit)
    _print_run(result)
    out.print(f"ready after the promotion, in seconds: {switch.ready_after_s}", highlight=False)
    for failure in switch.failures():
        out.print(f"FAILED: {failure}", style="red", highlight=False)
    raise typer.Exit(bool(result.violations or switch.failures()))


@app.command()
def fuzz(requests: int = 50_000, seed: int = 1) -> None:
    """Bad input through the gateway and random bytes at every port."""
    result = run_fuzz(requests, seed)
    grown = {name: f"{size >> 20} MiB" for name, size in result.growth_bytes.items()}
    out.print(f"{result.requests} requests: {dict(result.statuses)}, {result.closed} connections closed; grew: {grown}")
    for failure in result.failures[:20]:
        out.print(f"FAILED: {failure}", style="red", highlight=False, markup=False)
    raise typer.Exit(bool(result.failures))


@app.command()
def slow_callers(
    seconds: Annotated[float, typer.Option(min=3, help="Of each kind.")] = 60.0,
    kind: Annotated[str, typer.Option(help="Only kinds with this in their name, such as `idle`.")] = "",
) -> None:
    """Half-open calls, idle connections and held streams of one address, beside callers of others."""
    results = run_slow_callers(seconds, kind, _print_phase)
    raise typer.Exit(any(result.failures() for result in results))


def _print_phase(result: PhaseResult) -> None:
    out.print(
        f"{result.name}: {result.strangers}; beside them {result.others.calls} calls, p99 of the mints "
        f"{result.others.p99_ms} ms, quiet {result.quiet_p99_ms} ms",
        highlight=False,
    )
    for failure in result.failures():
        out.print(f"FAILED: {failure}", style="red", highlight=False, markup=False)


def _print_run(result: RunResult) -> None:
    faults = ", ".join(kind for kind, count in result.faults.items() for _ in range(count))
    out.print(
        f"seed {result.seed}: {result.mints} mints of {result.capacity}, {result.operations} operations, "
        f"{result.unknown} unknown, serving after {result.serving_after_s} s, drift 0 after "
        f"{result.drift_zero_after_s} s, {result.took_s} s; {faults}",
        highlight=False,
    )
    for violation in result.violations[:5]:
        out.print(f"  VIOLATION {violation.rule}: {violation.detail}", style="red", highlight=False)
    if len(result.violations) > 5:
        out.print(f"  … {len(result.violations)} in all")


if __name__ == "__main__":
    app()
