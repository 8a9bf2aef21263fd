"""Background loops: no error ends one, a loop that hangs or dies is noticed, and they end in order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY
from structlog.testing import LogCapture
from structlog.typing import EventDict

from services.data.storage.failures import DatabaseUnavailable
from services.server.runtime import background
from services.server.runtime.background import Loop, running

NEVER_S = 60.0


class Rounds:
    """Each round returns the next of `outcomes`, or raises it if it is an exception; the last one ends the loop."""

    def __init__(self, *outcomes: bool | BaseException | None) -> None:
        self.outcomes = list(outcomes)
        self.ended = asyncio.Event()

    async def __call__(self) -> bool | None:
        if not self.outcomes:
            self.ended.set()
            return None
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


async def run_until_ended(rounds: Rounds, *, every_s: float = NEVER_S, **pacing: Any) -> None:
    async with running([Loop("work", run=rounds, every_s=every_s, **pacing)]):
        await asyncio.wait_for(rounds.ended.wait(), 5)


def sample(name: str, **labels: str) -> float:
    """A metric's value right now."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def rounds_counted(outcome: str, loop: str = "work") -> float:
    return sample("vyris_loop_round_seconds_count", loop=loop, outcome=outcome)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[EventDict]:
    """The log of a separate logger: the configuration of the process' logger depends on earlier imports."""
    capture = LogCapture()
    everything = structlog.make_filtering_bound_logger(logging.NOTSET)
    own = structlog.wrap_logger(structlog.PrintLogger(), processors=[capture], wrapper_class=everything)
    monkeypatch.setattr(background, "log", own)
    return capture.entries


async def test_work_that_takes_long_rests_longer() -> None:
    began_s: list[float] = []

    async def work() -> None:
        began_s.append(time.monotonic())
        await asyncio.sleep(0.05)

    async with running([Loop("work", run=work, every_s=0.01, rest=3)]):
        await asyncio.sleep(0.35)
    assert len(began_s) == 2


async def test_an_event_ends_a_pause() -> None:
    rounds, wake = Rounds(False, False), asyncio.Event()
    async with running([Loop("work", run=rounds, every_s=NEVER_S, wake=wake)]):
        for left in (1, 0):
            await asyncio.sleep(0.01)
            assert len(rounds.outcomes) == left
            assert not rounds.ended.is_set()
            wake.set()
        await asyncio.wait_for(rounds.ended.wait(), 5)


async def test_a_round_that_leaves_more_is_followed_at_once() -> None:
    await run_until_ended(Rounds(True, True))


async def test_a_round_that_leaves_nothing_is_followed_after_the_interval() -> None:
    began_s = time.monotonic()
    await run_until_ended(Rounds(False, None), every_s=0.05)
    assert time.monotonic() - began_s >= 2 * 0.05


async def test_the_next_round_comes_after_any_error(logged: list[EventDict]) -> None:
    failed, done = rounds_counted("failed"), rounds_counted("done")
    await run_until_ended(Rounds(DatabaseUnavailable("no connection: OSError")), after_failure_s=0)
    await run_until_ended(Rounds(ZeroDivisionError()), after_failure_s=0)
    assert [(line["event"], line["loop"], line["log_level"], line.get("error")) for line in logged] == [
        ("loop_failed", "work", "warning", "no connection: OSError"),
        ("loop_failed", "work", "error", None),
    ]
    assert (rounds_counted("failed") - failed, rounds_counted("done") - done) == (2, 2)


async def test_an_error_whose_text_may_hold_an_address_is_logged_by_its_kind(logged: list[EventDict]) -> None:
    await run_until_ended(Rounds(ValueError("ann@example.com")), every_s=0, hides_errors=True)
    assert logged == [
        {"event": "loop_failed", "loop": "work", "problem": "ValueError", "exc_info": False, "log_level": "error"}
    ]


async def test_a_round_that_hangs_is_seen_and_cut(logged: list[EventDict]) -> None:
    overdue = rounds_counted("overdue")
    rounds = Rounds()
    hangs = True

    async def work() -> None:
        nonlocal hangs
        if hangs:
            hangs = False
            await asyncio.sleep(NEVER_S)
        await rounds()

    async with running([Loop("work", run=work, every_s=NEVER_S, after_failure_s=0, limit_s=0.1)]):
        await asyncio.sleep(0.05)
        assert sample("vyris_loop_busy_seconds", loop="work") >= 0.02
        await asyncio.wait_for(rounds.ended.wait(), 5)
        await asyncio.sleep(0)
        assert sample("vyris_loop_busy_seconds", loop="work") == 0
    assert [(line["event"], line["loop"]) for line in logged] == [("loop_overdue", "work")]
    assert rounds_counted("overdue") - overdue == 1


async def test_a_loop_that_dies_is_logged_counted_and_started_again(
    logged: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "FIRST_RESTART_PAUSE_S", 0.01)
    monkeypatch.setattr(background, "LONGEST_RESTART_PAUSE_S", 0.02)
    died = sample("vyris_loop_deaths_total", loop="work")
    # A library may await a task that it has cancelled: `except Exception` does not catch that error.
    await run_until_ended(Rounds(*(asyncio.CancelledError() for _ in range(4)), GeneratorExit()))
    assert sample("vyris_loop_deaths_total", loop="work") - died == 5
    assert [(line["event"], line["problem"], line["restart_in_s"]) for line in logged] == [
        ("loop_died", "CancelledError", 0.01),
        ("loop_died", "CancelledError", 0.02),
        ("loop_died", "CancelledError", 0.02),
        ("loop_died", "CancelledError", 0.02),
        ("loop_died", "GeneratorExit", 0.02),
    ]


async def test_loops_end_in_order_the_last_one_first() -> None:
    ended: list[str] = []

    def work(name: str) -> Callable[[], Any]:
        async def stay() -> None:
            try:
                await asyncio.sleep(NEVER_S)
            finally:
                await asyncio.sleep(0.01)
                ended.append(name)

        return stay

    async with running([Loop(name, run=work(name), every_s=NEVER_S) for name in ("first", "second", "third")]):
        await asyncio.sleep(0.01)
    assert ended == ["third", "second", "first"]


async def test_a_loop_that_does_not_end_does_not_block_the_end(
    logged: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "END_LIMIT_S", 0.05)
    let_go = asyncio.Event()

    async def stubborn() -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    async with running([Loop("stubborn", run=stubborn, every_s=NEVER_S)]):
        await asyncio.sleep(0.01)
    assert [(line["event"], line["loop"]) for line in logged] == [("loop_does_not_end", "stubborn")]
    let_go.set()
    await asyncio.sleep(0.05)


async def test_two_loops_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        async with running([Loop("work", run=Rounds(), every_s=1)] * 2):
            pass
