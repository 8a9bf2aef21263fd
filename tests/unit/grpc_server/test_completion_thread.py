"""What the thread hands over to the event loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.grpc_server.completion_thread import CompletionThread


@pytest.fixture
async def thread() -> Any:
    return CompletionThread(asyncio.get_running_loop())


async def test_all_that_is_handed_over_comes_in_order(thread: CompletionThread) -> None:
    came: list[int] = []

    def hand_over_all() -> None:
        for number in range(10_000):
            thread.hand_over(came.append, number)

    await asyncio.to_thread(hand_over_all)
    async with asyncio.timeout(5):
        while len(came) < 10_000:
            await asyncio.sleep(0)
    assert came == list(range(10_000))


async def test_what_a_step_hands_over_comes_too(thread: CompletionThread) -> None:
    came: list[str] = []
    thread.hand_over(lambda _: thread.hand_over(came.append, "second"), None)
    await asyncio.sleep(0.01)
    assert came == ["second"]


async def test_a_step_that_fails_does_not_hold_up_the_next(thread: CompletionThread) -> None:
    came: list[str] = []

    def fail(_: object) -> None:
        raise RuntimeError("broken")

    thread.hand_over(fail, None)
    thread.hand_over(came.append, "next")
    await asyncio.sleep(0.05)
    assert came == ["next"]
