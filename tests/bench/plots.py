"""Plots of the figures, as SVG that does not change where the figures do not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

from tests.bench.figures import CoreFigures, FullFigures
from tests.bench.growth import Curve
from tests.bench.soak import Sample
from tests.bench.subject import BASELINE, CEILING, SUITE
from tests.bench.tools import REPOSITORY

FOLDER = REPOSITORY / "docs" / "plots"
COLOURS = {SUITE: "#0b6e4f", BASELINE: "#c0392b", CEILING: "#7f8c8d"}
# Without a date and with a fixed salt the same figures give the same bytes.
# Of a bar: what is less is left out.
VISIBLE = 0.02
STYLE: Any = {"svg.hashsalt": "vyris", "svg.fonttype": "none", "font.size": 10, "axes.grid": True, "grid.alpha": 0.3}


def draw_all(core: CoreFigures | None, full: FullFigures | None) -> list[Path]:
    """Write every plot that the figures allow; their paths."""
    with mpl.rc_context(STYLE):
        drawn: list[Path] = []
        if core is not None:
            drawn += [_by_connections(core, "rate"), _by_connections(core, "p99_ms"), _cpu(core), _database(core)]
        if full is not None:
            drawn += [_curve(curve) for curve in full.curves]
            if full.soak:
                drawn.append(_soak(full.soak))
        return drawn


def _save(figure: Any, name: str) -> Path:
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.svg"
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    # The writer leaves blanks at line ends.
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n", encoding="utf-8")
    return path


def _by_connections(core: CoreFigures, field: str) -> Path:
    figure, axes = plt.subplots(figsize=(7, 4))
    for subject in (SUITE, BASELINE, CEILING):
        lines = [one for one in core.summaries if one.workload == "mint" and one.subject == subject]
        at = [one.connections for one in lines]
        axes.plot(at, [getattr(one, field) for one in lines], marker="o", label=subject, color=COLOURS[subject])
        if field == "rate":
            axes.fill_between(
                at,
                [one.slowest_rate for one in lines],
                [one.fastest_rate for one in lines],
                color=COLOURS[subject],
                alpha=0.15,
            )
    _connections_axis(axes, {one.connections for one in core.summaries if one.workload == "mint"})
    axes.set_ylabel("mints a second" if field == "rate" else "p99, ms")
    axes.set_ylim(bottom=0)
    axes.legend()
    return _save(figure, "mint-rate" if field == "rate" else "mint-p99")


def _connections_axis(axes: Any, values: Iterable[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(values), [str(value) for value in sorted(values)])
    axes.set_xlabel("connections")


def _cpu(core: CoreFigures) -> Path:
    """CPU of each process for one mint, stacked."""
    figure, axes = plt.subplots(figsize=(7, 4))
    lines = [one for subject in (SUITE, BASELINE, CEILING) if (one := core.find("mint", 64, subject)) is not None]
    names = sorted({name for one in lines for name, us in one.cpu_us.items() if us >= VISIBLE * one.all_cpu_us})
    left = [0.0] * len(lines)
    for name in names:
        widths = [one.cpu_us.get(name, 0.0) for one in lines]
        axes.barh([one.subject for one in lines], widths, left=left, label=name)
        left = [before + width for before, width in zip(left, widths, strict=True)]
    axes.set_xlabel("CPU, µs for one request at 64 connections")
    axes.invert_yaxis()
    axes.legend(fontsize=8)
    return _save(figure, "mint-cpu")


def _database(core: CoreFigures) -> Path:
    figure, axes = plt.subplots(figsize=(7, 4))
    axes.bar([str(one.batch) for one in core.database], [one.mints_per_s for one in core.database], color="#34495e")
    axes.set_xlabel("receipts in one transaction")
    axes.set_ylabel("mints a second in Postgres alone")
    return _save(figure, "database-limit")


def _curve(curve: Curve) -> Path:
    figure, (rates, times) = plt.subplots(2, 1, figsize=(7, 6), sharex=True)
    at = [point.at for point in curve.points]
    rates.plot(at, [point.rate for point in curve.points], marker="o", color=COLOURS[SUITE])
    rates.fill_between(
        at,
        [point.slowest_rate for point in curve.points],
        [point.fastest_rate for point in curve.points],
        color=COLOURS[SUITE],
        alpha=0.15,
    )
    rates.set_title(curve.title)
    rates.set_ylabel("mints a second")
    times.plot(at, [point.p99_ms for point in curve.points], marker="o", label="p99", color=COLOURS[BASELINE])
    times.plot(at, [point.p50_ms for point in curve.points], marker="o", label="p50", color=COLOURS[CEILING])
    times.set_ylabel("ms")
    times.set_xlabel(curve.axis)
    times.legend()
    for axes in (rates, times):
        axes.set_ylim(bottom=0)
        if curve.logarithmic:
            axes.set_xscale("log")
    return _save(figure, curve.name)


def _soak(samples: list[Sample]) -> Path:
    figure, (times, memory) = plt.subplots(2, 1, figsize=(7, 6), sharex=True)
    at = [sample.minute for sample in samples]
    times.plot(at, [sample.p99_ms for sample in samples], label="p99", color=COLOURS[BASELINE])
    times.plot(at, [sample.p50_ms for sample in samples], label="p50", color=COLOURS[CEILING])
    times.set_ylabel("ms")
    times.legend()
    for name in samples[0].memory_mib:
        memory.plot(at, [sample.memory_mib.get(name, 0.0) for sample in samples], label=name)
    memory.set_ylabel("MiB")
    memory.set_xlabel("minutes")
    memory.legend(fontsize=8, ncols=4)
    for axes in (times, memory):
        axes.set_ylim(bottom=0)
    return _save(figure, "soak")
