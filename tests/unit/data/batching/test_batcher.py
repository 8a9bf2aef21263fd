"""What the batcher promises, with a process function that the test controls."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from services.data.batching import batcher as batching
from services.data.batching.batcher import Batcher, Group
from vyris.errors import NotFound, Retryable

Groups = list[Group[str, int, int]]


class HeldProcess:
    """Doubles each request once the test opens the gate."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = asyncio.Event()
        self.put_back_once: set[str] = set()
        self.error: Exception | None = None

    async def __call__(self, batch: Groups) -> Groups:
        self.batches.append([group.key for group in batch])
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        again = [group for group in batch if group.key in self.put_back_once]
        self.put_back_once -= {group.key for group in again}
        for group in batch:
            if group not in again:
                group.settle(lambda request, is_first: request * 2 if is_first else -request)
        return again


def batcher(
    process: HeldProcess, waiting_limit: int = 100, batch_limit: int = 10, **changes: Any
) -> Batcher[str, int, int]:
    return Batcher(process, name="test", waiting_limit=waiting_limit, batch_limit=batch_limit, **changes)


@pytest.fixture
def endless_gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that has to gather never ends."""
    monkeypatch.setattr(batching, "GATHERING_S", 3600.0)
    monkeypatch.setattr(batching, "LONGEST_GATHERING_S", 3600.0)


async def let_tasks_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_batchers_that_share_turns_gather_while_another_runs() -> None:
    turns, busy, other = asyncio.Semaphore(1), HeldProcess(), HeldProcess()
    other.gate.set()
    first, second = batcher(busy, turns=turns), batcher(other, turns=turns)
    held = asyncio.create_task(first.submit("a", 1, 5))
    await let_tasks_run()
    gathering = [asyncio.create_task(second.submit(key, 1, 5)) for key in "bcd"]
    await let_tasks_run()
    assert (busy.batches, other.batches) == ([["a"]], [])
    busy.gate.set()
    assert await asyncio.gather(held, *gathering) == [2, 2, 2, 2]
    assert other.batches == [["b", "c", "d"]]


async def test_a_batch_that_must_wait_for_others_waits_without_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "FIRST_PAUSE_S", 3600.0)
    monkeypatch.setattr(batching, "LONGEST_PAUSE_S", 3600.0)
    turns, pausing, other = asyncio.Semaphore(1), HeldProcess(), HeldProcess()
    pausing.put_back_once = {"a"}
    pausing.gate.set()
    other.gate.set()
    first, second = batcher(pausing, turns=turns), batcher(other, turns=turns)
    held = asyncio.create_task(first.submit("a", 1, 60))
    await let_tasks_run()
    assert pausing.batches == [["a"]]
    async with asyncio.timeout(2):
        assert await second.submit("b", 21, 1) == 42
    assert not held.done()
    await first.close()
    with pytest.raises(Retryable):
        await held


async def test_a_batcher_that_is_closed_before_its_turn_answers_and_takes_no_turn() -> None:
    turns, busy, other = asyncio.Semaphore(1), HeldProcess(), HeldProcess()
    first, second = batcher(busy, turns=turns), batcher(other, turns=turns)
    held = asyncio.create_task(first.submit("a", 1, 5))
    await let_tasks_run()
    waiting = asyncio.create_task(second.submit("b", 1, 5))
    await let_tasks_run()
    await second.close()
    with pytest.raises(Retryable):
        await waiting
    busy.gate.set()
    assert await held == 2
    assert not turns.locked()


async def test_a_lone_request_waits_for_nobody() -> None:
    process = HeldProcess()
    process.gate.set()
    assert await batcher(process).submit("a", 21, 1) == 42
    assert process.batches == [["a"]]


async def test_a_batch_runs_outside_the_context_of_its_first_caller() -> None:
    caller: ContextVar[str] = ContextVar("caller", default="nobody")
    seen = []

    async def process(batch: Groups) -> Groups:
        seen.append(caller.get())
        for group in batch:
            group.settle_all(1)
        return []

    caller.set("first")
    await Batcher(process, name="test", waiting_limit=1, batch_limit=1).submit("a", 1, 1)
    assert seen == ["nobody"]


@pytest.mark.usefixtures("endless_gathering")
async def test_requests_one_after_the_other_wait_for_nobody() -> None:
    process = HeldProcess()
    process.gate.set()
    queue = batcher(process)
    assert [await queue.submit(key, 1, 1) for key in "abc"] == [2, 2, 2]
    assert process.batches == [["a"], ["b"], ["c"]]


async def test_after_a_batch_of_several_the_next_one_gathers_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "GATHERING_S", 0.05)
    monkeypatch.setattr(batching, "LONGEST_GATHERING_S", 0.1)
    process = HeldProcess()
    process.gate.set()
    queue = batcher(process)
    await asyncio.gather(*(queue.submit(key, 1, 1) for key in "abc"))
    late = []
    for key in "defg":
        late.append(asyncio.create_task(queue.submit(key, 1, 1)))
        await asyncio.sleep(0.005)
    await asyncio.gather(*late)
    assert process.batches == [["a", "b", "c"], ["d", "e", "f", "g"]]


@pytest.mark.usefixtures("endless_gathering")
async def test_a_full_batch_does_not_gather() -> None:
    process = HeldProcess()
    process.gate.set()
    queue = batcher(process, batch_limit=2)
    assert await asyncio.gather(*(queue.submit(key, 1, 1) for key in "abcd")) == [2, 2, 2, 2]
    assert process.batches == [["a", "b"], ["c", "d"]]


async def test_requests_during_a_batch_become_the_next_batch() -> None:
    process = HeldProcess()
    queue = batcher(process)
    first = asyncio.create_task(queue.submit("a", 1, 1))
    await let_tasks_run()
    rest = [asyncio.create_task(queue.submit(key, 1, 1)) for key in "bcd"]
    await let_tasks_run()
    process.gate.set()
    await asyncio.gather(first, *rest)
    assert process.batches == [["a"], ["b", "c", "d"]]


async def test_one_key_is_once_in_a_batch_and_all_its_requests_are_answered() -> None:
    process = HeldProcess()
    queue = batcher(process)
    answers = [asyncio.create_task(queue.submit("a", number, 1)) for number in (3, 4, 5)]
    await let_tasks_run()
    process.gate.set()
    assert await asyncio.gather(*answers) == [6, -4, -5]
    assert process.batches == [["a"]]


async def test_a_batch_is_never_larger_than_its_limit() -> None:
    process = HeldProcess()
    process.gate.set()
    queue = batcher(process, batch_limit=4)
    await asyncio.gather(*(queue.submit(str(number), 1, 1) for number in range(11)))
    assert [len(batch) for batch in process.batches] == [4, 4, 3]


async def test_more_than_the_limit_is_shed_at_once() -> None:
    process = HeldProcess()
    queue = batcher(process, waiting_limit=2)
    waiting = [asyncio.create_task(queue.submit(key, 1, 1)) for key in "ab"]
    await let_tasks_run()
    with pytest.raises(Retryable) as shed:
        await queue.submit("c", 1, 1)
    assert (shed.value.http_status, shed.value.retry_after_s) == (503, 1)
    process.gate.set()
    await asyncio.gather(*waiting)
    assert await queue.submit("c", 1, 1) == 2


async def test_a_request_is_answered_retryable_at_its_deadline_while_the_batch_still_runs() -> None:
    process = HeldProcess()
    with pytest.raises(Retryable):
        await batcher(process).submit("a", 1, 0.01)


async def test_a_group_that_was_put_back_is_joined_by_those_who_came_meanwhile() -> None:
    process = HeldProcess()
    process.put_back_once = {"a"}
    queue = batcher(process)
    early = asyncio.create_task(queue.submit("a", 1, 1))
    await let_tasks_run()
    late = asyncio.create_task(queue.submit("a", 7, 1))
    await let_tasks_run()
    process.gate.set()
    assert await asyncio.gather(early, late) == [2, -7]
    assert process.batches == [["a"], ["a"]]


async def test_nothing_is_begun_for_a_caller_who_gave_up() -> None:
    process = HeldProcess()
    queue = batcher(process)
    first = asyncio.create_task(queue.submit("a", 1, 1))
    await let_tasks_run()
    gone = asyncio.create_task(queue.submit("b", 1, 1))
    await let_tasks_run()
    gone.cancel()
    process.gate.set()
    await first
    await let_tasks_run()
    assert process.batches == [["a"]]


async def test_what_has_begun_is_finished_for_a_caller_who_gave_up() -> None:
    process = HeldProcess()
    process.put_back_once = {"a"}
    queue = batcher(process)
    gone = asyncio.create_task(queue.submit("a", 1, 1))
    await let_tasks_run()

    class Begins(HeldProcess):
        async def __call__(self, batch: Groups) -> Groups:
            for group in batch:
                group.begin()
            return await super().__call__(batch)

    beginning = Begins()
    beginning.put_back_once = {"a"}
    begun = batcher(beginning)
    caller = asyncio.create_task(begun.submit("a", 1, 1))
    await let_tasks_run()
    caller.cancel()
    gone.cancel()
    process.gate.set()
    beginning.gate.set()
    await asyncio.sleep(0.05)
    assert beginning.batches == [["a"], ["a"]]
    assert process.batches == [["a"]]


async def test_an_unexpected_failure_answers_everybody_retryable_and_the_next_batch_runs() -> None:
    process = HeldProcess()
    process.error = ValueError("a secret")
    process.gate.set()
    queue = batcher(process)
    with pytest.raises(Retryable) as answer:
        await queue.submit("a", 1, 1)
    assert "secret" not in answer.value.message
    process.error = None
    assert await queue.submit("a", 1, 1) == 2


async def test_an_error_of_the_vocabulary_reaches_those_who_wait() -> None:
    async def refuse(batch: Groups) -> Groups:
        for group in batch:
            group.settle_all(NotFound())
        return []

    with pytest.raises(NotFound):
        await Batcher(refuse, name="test", waiting_limit=1, batch_limit=1).submit("a", 1, 1)


async def test_closing_answers_all_who_wait() -> None:
    process = HeldProcess()
    queue = batcher(process, batch_limit=1)
    waiting = [asyncio.create_task(queue.submit(key, 1, 1)) for key in "ab"]
    await let_tasks_run()
    await queue.close()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(answer, Retryable) for answer in answers)


async def test_a_request_that_would_wait_too_long_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "WAIT_LIMIT_S", 0.01)
    process = HeldProcess()
    queue = batcher(process, batch_limit=1)
    slow = asyncio.create_task(queue.submit("a", 1, 1))
    await asyncio.sleep(0.1)
    process.gate.set()
    await slow
    process.gate.clear()
    ahead = []
    for key in "bc":
        ahead.append(asyncio.create_task(queue.submit(key, 1, 1)))
        await let_tasks_run()
    with pytest.raises(Retryable) as refusal:
        await queue.submit("d", 1, 1)
    assert refusal.value.retry_after_s
    process.gate.set()
    await asyncio.gather(*ahead)


async def test_ask_returns_a_refusal_and_submit_raises_it() -> None:
    async def refuse(batch: Groups) -> Groups:
        for group in batch:
            group.settle(lambda request, _: NotFound(f"{request}"))
        return []

    queue: Batcher[str, int, int] = Batcher(refuse, name="test", waiting_limit=2, batch_limit=10)
    answer = await queue.ask("a", 7, 1)
    assert isinstance(answer, NotFound)
    assert (answer.message, answer.__traceback__) == ("7", None)
    with pytest.raises(NotFound, match="7"):
        await queue.submit("a", 7, 1)
    full: Batcher[str, int, int] = Batcher(refuse, name="test", waiting_limit=0, batch_limit=10)
    assert isinstance(await full.ask("a", 7, 1), Retryable)
