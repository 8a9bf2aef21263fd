"""Work that is repeated: no failure ends it, and what is left over is not kept waiting."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest
import structlog
from structlog.testing import LogCapture
from structlog.typing import EventDict

from services.storage import rounds as rounds_module
from services.storage.failures import DatabaseUnavailable
from services.storage.rounds import repeat

NEVER_S = 60.0


class Rounds:
    """Answers each round with the next of `outcomes`, raises it where it is an exception, and ends after the last."""

    def __init__(self, *outcomes: bool | Exception | None) -> None:
        self.outcomes = list(outcomes)
        self.ended = asyncio.Event()

    async def __call__(self) -> bool | None:
        if not self.outcomes:
            self.ended.set()
            return None
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def until_ended(rounds: Rounds, interval_s: float = NEVER_S, pause_after_failure_s: float | None = None) -> None:
    task = asyncio.create_task(
        repeat(
            rounds,
            interval_s=interval_s,
            failure_event="work_failed",
            pause_after_failure_s=pause_after_failure_s,
        )
    )
    try:
        await asyncio.wait_for(rounds.ended.wait(), 5)
    finally:
        task.cancel()


async def test_work_that_takes_long_rests_longer() -> None:
    began_s: list[float] = []

    async def work() -> None:
        began_s.append(time.monotonic())
        await asyncio.sleep(0.05)

    task = asyncio.create_task(repeat(work, interval_s=0.01, failure_event="work_failed", rest=3))
    await asyncio.sleep(0.35)
    task.cancel()
    assert len(began_s) == 2


async def test_news_end_a_pause() -> None:
    rounds, news = Rounds(False, False), asyncio.Event()
    task = asyncio.create_task(repeat(rounds, interval_s=NEVER_S, failure_event="work_failed", news=news))
    for left in (1, 0):
        await asyncio.sleep(0.01)
        assert len(rounds.outcomes) == left
        assert not rounds.ended.is_set()
        news.set()
    await asyncio.wait_for(rounds.ended.wait(), 5)
    task.cancel()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[EventDict]:
    """What is logged, by a logger of its own: how the process' is configured depends on who was imported before."""
    capture = LogCapture()
    everything = structlog.make_filtering_bound_logger(logging.NOTSET)
    own = structlog.wrap_logger(structlog.PrintLogger(), processors=[capture], wrapper_class=everything)
    monkeypatch.setattr(rounds_module, "log", own)
    return capture.entries


async def test_a_round_that_leaves_more_is_followed_at_once() -> None:
    await until_ended(Rounds(True, True))


async def test_a_round_that_leaves_nothing_is_followed_after_the_interval() -> None:
    began_s = time.monotonic()
    await until_ended(Rounds(False, None), interval_s=0.05)
    assert time.monotonic() - began_s >= 2 * 0.05


async def test_whatever_a_round_raises_the_next_one_comes(told: list[EventDict]) -> None:
    await until_ended(Rounds(DatabaseUnavailable("no connection: OSError")), pause_after_failure_s=0)
    await until_ended(Rounds(ZeroDivisionError()), pause_after_failure_s=0)
    assert [(line["event"], line["log_level"], line.get("error")) for line in told] == [
        ("work_failed", "warning", "no connection: OSError"),
        ("work_failed", "error", None),
    ]


async def test_an_error_whose_text_may_hold_an_address_is_told_by_its_kind(told: list[EventDict]) -> None:
    rounds = Rounds(ValueError("ann@example.com"))
    task = asyncio.create_task(repeat(rounds, interval_s=0, failure_event="work_failed", hides_errors=True))
    await asyncio.wait_for(rounds.ended.wait(), 5)
    task.cancel()
    assert told == [{"event": "work_failed", "problem": "ValueError", "exc_info": False, "log_level": "error"}]
