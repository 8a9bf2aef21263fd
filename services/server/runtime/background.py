"""Background work of a process: loops that are supervised, measured and ended in order.

A loop does one round after another. A round that fails is logged, counted and followed by the next one. A round that
takes longer than the loop's limit is cancelled, and counts as overdue. A loop whose task dies is logged, counted and
started again, after a pause that doubles up to a minute: it never stays dead, and never spins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import KW_ONLY, dataclass
from typing import Final, Literal

import structlog
from prometheus_client import Counter, Gauge, Histogram

from services.server.failures import LoggedFailure

ROUND_LIMIT_S: Final = 300.0
END_LIMIT_S: Final = 5.0
FIRST_RESTART_PAUSE_S: Final = 1.0
LONGEST_RESTART_PAUSE_S: Final = 60.0

ROUND_SECONDS: Final = Histogram(
    "vyris_loop_round_seconds",
    "Time of one round of a background loop",
    ["loop", "outcome"],
    buckets=(0.01, 0.1, 1, 10, 60, 300),
)
BUSY_SECONDS: Final = Gauge("vyris_loop_busy_seconds", "For how long the round under way has been running", ["loop"])
DEATHS: Final = Counter("vyris_loop_deaths", "Tasks of background loops that died and were started again", ["loop"])

Outcome = Literal["done", "failed", "overdue"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("done", "failed", "overdue")

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Loop:
    """Work that a process repeats beside its calls: repairs, counts, outboxes."""

    name: str
    """As logs and metrics show it; unique in its process."""
    _: KW_ONLY
    run: Callable[[], Awaitable[bool | None]]
    """One round. True: more is waiting."""
    every_s: float
    """Pause after a round that leaves nothing to do."""
    more_s: float = 0.0
    """Pause after a round that returned True."""
    after_failure_s: float | None = None
    """Pause after a round that failed; None: `every_s`."""
    rest: float = 0.0
    """A pause is at least so many times as long as its round took: work that grows with the data takes no more than
    its share."""
    wake: asyncio.Event | None = None
    """Ends a pause."""
    limit_s: float = ROUND_LIMIT_S
    """A round that takes longer is cancelled."""
    hides_errors: bool = False
    """Log no more of an error than its kind: its text may hold an address."""


@asynccontextmanager
async def running(loops: Sequence[Loop]) -> AsyncIterator[None]:
    """Run `loops` while the block runs; at its end the last one ends first.

    Raises ValueError for two loops of one name.
    """
    names = [loop.name for loop in loops]
    if len(set(names)) != len(names):
        raise ValueError(f"two background loops have the same name: {sorted(names)}")
    async with AsyncExitStack() as ending:
        for loop in loops:
            task = asyncio.create_task(_supervise(loop), name=f"supervisor of {loop.name}")
            ending.push_async_callback(_end, loop.name, task)
        yield


async def _end(name: str, task: asyncio.Task[None]) -> None:
    task.cancel()
    _, still_running = await asyncio.wait([task], timeout=END_LIMIT_S)
    if still_running:
        log.error("loop_does_not_end", loop=name)


async def _supervise(loop: Loop) -> None:
    """Keep one loop alive until cancelled."""
    for outcome in OUTCOMES:
        ROUND_SECONDS.labels(loop.name, outcome)
    pause_s = FIRST_RESTART_PAUSE_S
    while True:
        rounds = _Rounds(loop)
        BUSY_SECONDS.labels(loop.name).set_function(rounds.busy_s)
        task = asyncio.create_task(rounds.repeat(), name=f"loop {loop.name}")
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
            await asyncio.wait([task])
        DEATHS.labels(loop.name).inc()
        problem = "CancelledError" if task.cancelled() else type(task.exception()).__name__
        log.error("loop_died", loop=loop.name, problem=problem, restart_in_s=pause_s)
        await asyncio.sleep(pause_s)
        pause_s = FIRST_RESTART_PAUSE_S if rounds.done else min(2 * pause_s, LONGEST_RESTART_PAUSE_S)


class _Rounds:
    """The rounds of one loop, from one start to its end."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._began_s: float | None = None
        self.done = 0

    def busy_s(self) -> float:
        """For how long the round under way has been running; 0 in a pause. Called by the thread that serves metrics."""
        began_s = self._began_s
        return 0.0 if began_s is None else time.monotonic() - began_s

    async def repeat(self) -> None:
        """Run one round after another, also after one that failed."""
        loop = self._loop
        while True:
            if loop.wake is not None:
                loop.wake.clear()
            self._began_s = began_s = time.monotonic()
            outcome, pause_s = await self._round()
            took_s = time.monotonic() - began_s
            self._began_s = None
            ROUND_SECONDS.labels(loop.name, outcome).observe(took_s)
            await _pause(max(pause_s, loop.rest * took_s), loop.wake)

    async def _round(self) -> tuple[Outcome, float]:
        """How the round ended, and the pause that follows."""
        loop = self._loop
        limit = asyncio.timeout(loop.limit_s)
        try:
            async with limit:
                more = await loop.run()
        except LoggedFailure as error:
            log.warning("loop_failed", loop=loop.name, error=error.cause)
        except Exception as error:
            if limit.expired():
                log.error("loop_overdue", loop=loop.name, limit_s=loop.limit_s)
                return "overdue", self._pause_after_failure_s()
            log.error("loop_failed", loop=loop.name, problem=type(error).__name__, exc_info=not loop.hides_errors)
        else:
            self.done += 1
            return "done", loop.more_s if more else loop.every_s
        return "failed", self._pause_after_failure_s()

    def _pause_after_failure_s(self) -> float:
        after_failure_s = self._loop.after_failure_s
        return self._loop.every_s if after_failure_s is None else after_failure_s


async def _pause(pause_s: float, wake: asyncio.Event | None) -> None:
    if wake is None:
        await asyncio.sleep(pause_s)
        return
    with suppress(TimeoutError):
        await asyncio.wait_for(wake.wait(), pause_s)
