"""`python -m deploy.observability.picture`: the dashboard over a short drop, drawn to docs/dashboard.png.

The panels, their places and their queries are those of dashboard.json, the answers a real Prometheus'; the drawing is
matplotlib's, not Grafana's. Needs `prometheus` on the PATH and three minutes.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

from deploy.observability import dashboard
from deploy.observability.drop_day import CAPACITY, REDIS_AWAY_S, Prometheus, drop_day

mpl.use("Agg")
from matplotlib import pyplot as plt

OUTPUT: Final = Path(__file__).resolve().parents[2] / "docs" / "dashboard.png"
STEP_S: Final = 1.0
INK: Final = "#ccccdc"
PAPER: Final = "#111217"
PANEL: Final = "#181b1f"
COLOURS: Final = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#705da0", "#37872d")
LEGEND_LIMIT: Final = 6


def draw(prometheus: Prometheus, began_s: float, ended_s: float) -> None:
    """Draw every panel at its place."""
    panels = dashboard.dashboard()["panels"]
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = plt.figure(figsize=(16, bottom * 0.42 + 0.9), facecolor=PAPER)
    grid = figure.add_gridspec(bottom, dashboard.WIDTH, left=0.03, right=0.99, top=0.95, bottom=0.03)
    for panel in panels:
        place = panel["gridPos"]
        left, top = place["x"], place["y"]
        if panel["type"] == "row":
            axes = figure.add_subplot(grid[top : top + 1, :])
            axes.axis("off")
            axes.text(0, 0.6, panel["title"], color=INK, fontsize=11, weight="bold")
            continue
        # The panel's own last line is its legend's.
        axes = figure.add_subplot(grid[top + 1 : top + place["h"] - 1, left : left + place["w"] - 1])
        _draw_panel(axes, panel, prometheus, began_s, ended_s)
    day = datetime.fromtimestamp(began_s, UTC).strftime("%Y-%m-%d")
    fired = ", ".join(prometheus.fired(began_s, ended_s)) or "none"
    away = f"{REDIS_AWAY_S[0]:.0f} to {REDIS_AWAY_S[1]:.0f} s"
    figure.text(
        0.03,
        0.975,
        f"VYRIS: a drop day — {CAPACITY} numbers on a local stack, {day}, by seconds since it opened; "
        f"Redis stopped from {away}. "
        f"Alerts that fired: {fired}. Drawn from Prometheus' answers by deploy/observability/picture.py",
        color=INK,
        fontsize=9,
    )
    OUTPUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUTPUT, dpi=80, facecolor=PAPER, metadata={"Software": None})


def _draw_panel(axes: Any, panel: dict[str, Any], prometheus: Prometheus, began_s: float, ended_s: float) -> None:
    axes.set_facecolor(PANEL)
    axes.set_title(panel["title"], color=INK, fontsize=9, loc="left")
    axes.tick_params(colors=INK, labelsize=7)
    axes.grid(color="#2c3235", linewidth=0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlim(0, ended_s - began_s)
    axes.yaxis.set_major_formatter(lambda value, _: _with_unit(value, panel["fieldConfig"]["defaults"]["unit"]))
    lines = [line for target in panel["targets"] for line in _lines(target, prometheus, began_s, ended_s)]
    # What is greatest comes first: the legend has room for a few.
    lines.sort(key=lambda line: -max(line[2]))
    for (label, at_s, values), colour in zip(lines, itertools.cycle(COLOURS), strict=False):
        axes.plot(at_s, values, label=label, color=colour, linewidth=1.1)
    if axes.get_ylim()[0] > 0 or panel["fieldConfig"]["defaults"]["min"] == 0:
        axes.set_ylim(bottom=0)
    if lines:
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(
            handles[:LEGEND_LIMIT],
            labels[:LEGEND_LIMIT],
            loc="upper left",
            bbox_to_anchor=(-0.02, -0.09),
            ncol=3,
            fontsize=6.5,
            frameon=False,
            labelcolor=INK,
            handlelength=1.2,
            columnspacing=1.0,
        )


def _lines(
    target: dict[str, Any], prometheus: Prometheus, began_s: float, ended_s: float
) -> Iterator[tuple[str, list[float], list[float]]]:
    """What a query answers: each line's name, times and values."""
    for series in prometheus.series(target["expr"], began_s, ended_s, STEP_S):
        points = [(float(at) - began_s, float(value)) for at, value in series["values"]]
        shown = [(at, value) for at, value in points if math.isfinite(value)]
        if shown:
            yield _legend(target["legendFormat"], series["metric"]), [at for at, _ in shown], [v for _, v in shown]


def _legend(template: str, labels: dict[str, str]) -> str:
    """Grafana's `{{label}}`; a method by its last word."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], "").rpartition("/")[2], template)


def _with_unit(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value * 1000:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"
    return f"{value:g}/s" if unit == "reqps" else f"{value:g}"


async def _main() -> None:
    async with drop_day() as (prometheus, began_s, ended_s):
        draw(prometheus, began_s, ended_s)


if __name__ == "__main__":
    try:
        asyncio.run(_main())
    except FileNotFoundError as missing:
        sys.exit(str(missing))
