"""The report: `docs/performance.md` and its plots, from the figures on disk."""

from __future__ import annotations

from pathlib import Path

import jinja2

from deploy.capacity import BUSY, CROWD, shared_rate
from tests.bench import figures, verdict
from tests.bench.crowd import HOLD_S, OFFER_S
from tests.bench.figures import CoreFigures
from tests.bench.loads import PAGE, POLL
from tests.bench.machine import Machine
from tests.bench.measurement import Summary
from tests.bench.tools import REPOSITORY

REPORT = REPOSITORY / "docs" / "performance.md"
TEMPLATE = Path(__file__).with_name("performance.md.j2")
LARGE, SMALL = 10, 0.01


def write() -> list[Path]:
    """Write the page and the plots; return their paths. Raises FileNotFoundError if nothing was measured yet."""
    # A second to import, in each process of the tests.
    from tests.bench import plots

    core, full, night = figures.read_core(), figures.read_full(), figures.read_night()
    if core is None and full is None and night is None:
        raise FileNotFoundError("there are no figures yet: `make bench` makes them")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - Markdown
    environment.filters["figure"] = readable
    environment.filters["parts"] = parts
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        core=core,
        full=full,
        night=night,
        busy=BUSY,
        crowds=crowds(core) if core else [],
        shared_rate=shared_rate,
        hold_s=HOLD_S,
        offer_s=OFFER_S,
        night_targets=verdict.night_targets(night.timings) if night else [],
        machine=_machine,
        targets=verdict.targets(core) if core else [],
        growth_targets=verdict.growth_targets(full) if full else [],
        checks=verdict.worthiness(core) + core.checks if core else [],
    )
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(page.rstrip() + "\n", encoding="utf-8")
    return [REPORT, *plots.draw_all(core, full)]


def crowds(core: CoreFigures) -> list[Summary]:
    """The lines that the capacity page's rule is for: crowds that keep all cores busy.

    One worker of the gateway answers polls and pages alone, from its memory.
    """
    return [one for one in core.summaries if one.connections >= CROWD and one.workload not in {POLL, PAGE}]


def readable(value: float) -> str:
    """`454`, `0.32`, `0.0002`."""
    if value >= LARGE:
        return f"{value:.0f}"
    return f"{value:.2f}" if value >= SMALL or not value else f"{value:.1g}"


def parts(by_name: dict[str, float]) -> str:
    """`mint 210, gateway 130`: the largest first, without zeros."""
    shares = sorted(((value, name) for name, value in by_name.items() if value >= 1), reverse=True)
    return ", ".join(f"{name} {value:.0f}" for value, name in shares)


def _machine(machine: Machine) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return (
        f"{machine.cores} cores of {machine.processor}, {machine.memory_gib} GiB, {machine.system}; load at the start "
        f"{machine.load_at_start}. {versions}."
    )
