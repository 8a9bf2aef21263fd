"""Simulate the capacity model of docs/capacity.md: `python -m deploy.capacity` prints its table.

Buyers come as the page says: half of the first minute's in its first ten seconds. A buyer who is shed retries after a
pause: `Retry-After` (one second) each time, or twice as long at every attempt. Time goes in steps. Buyers are only
counted, and all who ask in a step have the same chance.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from services.data.batching.batcher import WAIT_LIMIT_S

STEP_S: Final = 0.1
RUSH_S: Final = 10.0
MINUTE_S: Final = 60.0
# The planned rates a second (docs/capacity.md): about half of what was measured for a core.
MINT_REPLICA: Final = 1_000
POSTGRES_PRIMARY: Final = 10_000
GATEWAY_WORKER: Final = 1_000
RETRY_AFTER_S: Final = 1.0
LONGEST_PAUSE_S: Final = 32.0
DAY_S: Final = 86_400.0
# Less than one buyer is left.
NOBODY: Final = 0.5
# The share of shared cores that are busy with a crowd, because requests pass the processes in bursts. It is the one
# number of the rule below that is fitted to measured runs (docs/performance.md).
BUSY: Final = 0.79
CROWD: Final = 64
"""So many callers at once are a crowd."""


def shared_rate(cpu_us: float, cores: int) -> float:
    """Requests a second of a crowd on `cores` that it shares with all processes.

    `cpu_us`: CPU of one request, the caller's included.
    """
    return cores * BUSY * 1e6 / cpu_us


@dataclass(frozen=True)
class Day:
    """The result of a simulation."""

    buyers: int
    mint_replicas: int
    doubling: bool
    # The most requests a second at the gateway, in one step.
    peak_per_s: float
    # Requests for each buyer, first and repeated ones.
    tries: float
    last_answered_s: float

    @property
    def gateway_workers(self) -> int:
        """How many workers pass on every request, to be answered or shed."""
        return max(2, -int(-self.peak_per_s // GATEWAY_WORKER))


def simulate(buyers: int, mint_replicas: int, *, doubling: bool) -> Day:
    """Simulate the first minute and the time after it, until every buyer has an answer."""
    per_step = min(mint_replicas * MINT_REPLICA, POSTGRES_PRIMARY) * STEP_S
    room = per_step / STEP_S * WAIT_LIMIT_S
    returning: defaultdict[int, defaultdict[int, float]] = defaultdict(lambda: defaultdict(float))
    waiting = answered = requests = peak = 0.0
    step = 0
    while answered < buyers - NOBODY and step * STEP_S < DAY_S:
        asking = returning.pop(step, defaultdict(float))
        asking[0] += _newcomers(buyers, step * STEP_S)
        offered = sum(asking.values())
        requests += offered
        peak = max(peak, offered)
        taken = min(offered, room + per_step - waiting)
        for attempt, count in asking.items():
            shed = count * (1 - taken / offered) if offered else 0.0
            if shed > 0:
                returning[step + round(_pause_s(attempt, doubling) / STEP_S)][attempt + 1] += shed
        waiting += taken
        served = min(waiting, per_step)
        waiting -= served
        answered += served
        step += 1
    return Day(buyers, mint_replicas, doubling, peak / STEP_S, requests / buyers, step * STEP_S)


def _newcomers(buyers: int, at_s: float) -> float:
    if at_s >= MINUTE_S:
        return 0.0
    return buyers / 2 * STEP_S / (RUSH_S if at_s < RUSH_S else MINUTE_S - RUSH_S)


def _pause_s(attempt: int, doubling: bool) -> float:
    return min(RETRY_AFTER_S * 2.0**attempt, LONGEST_PAUSE_S) if doubling else RETRY_AFTER_S


def table() -> str:
    """The page's table."""
    lines = [
        "| buyers in the first minute | mint replicas | a shed buyer retries | requests a second, at most "
        "| requests a buyer | gateway workers | the last buyer is answered after |",
        "|---|---|---|---|---|---|---|",
    ]
    for buyers, power, replicas in ((100_000, "10⁵", 5), (1_000_000, "10⁶", 10), (10_000_000, "10⁷", 10)):
        for doubling in (False, True):
            day = simulate(buyers, replicas, doubling=doubling)
            again = "twice as late each time, to 32 s" if doubling else "every second"
            lines.append(
                f"| {power} | {replicas} | {again} | {_round(day.peak_per_s):,} | {day.tries:.1f} "
                f"| {day.gateway_workers:,} | {_last_answer(day)} |"
            )
    return "\n".join(lines) + "\n"


def _last_answer(day: Day) -> str:
    """The table's last column. If nobody is shed, a buyer of the last second is answered at once."""
    return "its own request" if day.tries < 1 + NOBODY / day.buyers else f"{day.last_answered_s:.0f} s"


def _round(value: float) -> int:
    """To two digits: the model promises no more."""
    return int(float(f"{value:.1e}"))


if __name__ == "__main__":
    sys.stdout.write(table())
