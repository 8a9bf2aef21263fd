"""`python -m tests.bench`: measures the suite side by side with Node, Go and its own ceiling.

python -m tests.bench                    the core table, about half an hour
python -m tests.bench --full             how cost grows, and the soak, about an hour
python -m tests.bench --report           write docs/performance.md and its plots again from the figures
python -m tests.bench --quick mint       one workload briefly, nothing is written
python -m tests.bench --fair             refusals, mints and polls of drops that sell by hold; nothing is written
python -m tests.bench --night            100,000 people for 999 numbers, sold in each way, about fifteen minutes
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from tests.bench import core, fair, figures, full, machine, night, quick, report, tools, verdict
from tests.bench.checks import Check

console = Console(width=140, highlight=False)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    quick_look: Annotated[str, typer.Option("--quick", help="One workload briefly: mint, replay or sold-out.")] = "",
    full_run: Annotated[bool, typer.Option("--full", help="How cost grows, and the soak.")] = False,
    fair_drops: Annotated[bool, typer.Option("--fair", help="Drops that sell by hold, about two minutes.")] = False,
    whole_night: Annotated[bool, typer.Option("--night", help="A crowd for 999 numbers, sold in each way.")] = False,
    people: Annotated[int, typer.Option(min=1, max=1_000_000, help="Of a night.")] = night.ALL_PEOPLE,
    over: Annotated[float, typer.Option(min=0, help="Seconds within which the people of a night arrive.")] = 0,
    soak_minutes: Annotated[float, typer.Option(min=0.5, help="Of a full run.")] = 30,
    write_report: Annotated[bool, typer.Option("--report", help="Only write the report again.")] = False,
    connections: Annotated[int, typer.Option(min=1, max=1024, help="Of a quick look.")] = 64,
    seconds: Annotated[int, typer.Option(min=1, help="How long one measurement takes.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds of each workload, at least.")] = 3,
    most_rounds: Annotated[
        int,
        typer.Option(
            min=1, help="So many at most, until each ratio is certain to 5 %, of the core table or a quick look."
        ),
    ] = 12,
    only: Annotated[
        str,
        typer.Option(
            help="Sections of the core table, of a full or a fair run, divided by commas; nothing is written."
        ),
    ] = "",
    subjects: Annotated[
        str, typer.Option(help="Of a quick look or a night: suite, node, go, ceiling, plain, aio.")
    ] = "",
) -> None:
    """Measure; without options, the core table."""
    try:
        if quick_look:
            names = [name for name in subjects.split(",") if name]
            quick.run(quick_look, names, connections=connections, seconds=seconds, count=rounds, most=most_rounds)
        elif fair_drops:
            _fair(seconds, rounds, _sections(only, tuple(fair.SECTIONS)))
        elif whole_night:
            names = [name for name in subjects.split(",") if name]
            _night(people, over, _sections(only, tuple(night.SECTIONS)), names, keep=not only and not names)
        elif write_report:
            _report()
        elif full_run:
            sections = _sections(only, full.SECTIONS)
            _full(seconds, rounds, soak_minutes, sections, keep=not only)
        elif only:
            _core(core.Length(seconds, rounds, most_rounds, _sections(only, tuple(core.SECTIONS))), keep=False)
        else:
            _core(core.Length(seconds, rounds, most_rounds), keep=True)
    except (tools.MissingTool, FileNotFoundError) as problem:
        sys.stderr.write(f"{problem}\n")
        raise typer.Exit(1) from None


def _sections(asked: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Those that are asked for, or all. Raises BadParameter."""
    chosen = tuple(asked.split(",")) if asked else known
    unknown = ", ".join(name for name in chosen if name not in known)
    if unknown:
        raise typer.BadParameter(f"no section is called {unknown}; there are {', '.join(known)}", param_hint="--only")
    return chosen


def _core(length: core.Length, *, keep: bool) -> None:
    for tool in ("wrk", "node", "npm"):
        tools.find(tool)
    tools.build_with_go(tools.NATIVE_CALLERS)
    where = machine.describe()
    measured = core.run(length, console.print)
    found = figures.CoreFigures(
        command=f"python -m tests.bench --seconds {length.seconds} --rounds {length.rounds} "
        f"--most-rounds {length.most_rounds}",
        finished_at=figures.now(),
        machine=where,
        summaries=measured.summaries,
        database=figures.medians(measured.limits),
        checks=measured.checks.condensed(),
        comparisons=measured.comparisons,
    )
    if keep:
        figures.write(found, figures.CORE)
        _report()
    else:
        quick.show(found.summaries)
    _conclude(verdict.targets(found), [*verdict.worthiness(found), *found.checks])


def _show_checks(checks: list[Check]) -> None:
    for check in checks:
        console.print(f"{check.what}: {check.detail}")


def _conclude(targets: list[verdict.Target], checks: list[Check]) -> None:
    for line in targets:
        console.print(f"{line.what}: {line.figure:.2f} {line.unit} (must {line.must}, aim {line.aim}): {line.verdict}")
    failed = [check for check in checks if not check.passed]
    for check in failed:
        console.print(f"this run does not count: {check.what} ({check.detail})", style="red")
    if failed:
        raise typer.Exit(1)


def _full(seconds: int, rounds: int, soak_minutes: float, sections: tuple[str, ...], *, keep: bool) -> None:
    tools.find("wrk")
    where = machine.describe()
    measured = full.run(
        seconds=seconds, rounds=rounds, soak_minutes=soak_minutes, on_progress=console.print, sections=sections
    )
    found = figures.FullFigures(
        command=f"python -m tests.bench --full --seconds {seconds} --rounds {rounds} --soak-minutes {soak_minutes:g}",
        finished_at=figures.now(),
        machine=where,
        curves=measured.curves,
        claims=measured.claims,
        soak=measured.soak,
        checks=measured.checks.condensed(),
    )
    if keep:
        figures.write(found, figures.FULL)
        _report()
    _conclude(verdict.growth_targets(found), found.checks)


def _fair(seconds: int, rounds: int, sections: tuple[str, ...]) -> None:
    tools.find("wrk")
    measured = fair.run(seconds, rounds, sections, console.print)
    quick.show(measured.summaries)
    _show_checks(measured.checks.condensed())
    _conclude(measured.targets, measured.checks.condensed())


def _night(people: int, over_s: float, sections: tuple[str, ...], names: list[str], *, keep: bool) -> None:
    tools.build_with_go(tools.CROWD)
    where = machine.describe()
    measured = night.run(people, over_s, sections, names, console.print)
    night.show(measured.scenes, console)
    found = figures.NightFigures(
        command=f"python -m tests.bench --night --people {people} --over {over_s:g}",
        finished_at=figures.now(),
        machine=where,
        scenes=measured.scenes,
        timings=measured.timings,
        checks=measured.checks.condensed(),
    )
    _show_checks(found.checks)
    if keep:
        figures.write(found, figures.NIGHT)
        _report()
    _conclude(verdict.night_targets(found.timings), found.checks)


def _report() -> None:
    for path in report.write():
        console.print(f"wrote {path.relative_to(tools.REPOSITORY)}")


if __name__ == "__main__":
    app()
