"""Unknown chains are proven once and one at a time, and no flood keeps a genuine one out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from services.mint.receipts.chain_queue import WAITING_LIMIT, ChainDisproven, ChainQueue
from vyris.errors import Retryable


def nothing() -> None:
    """Caches no chain, so each text asks the queue."""


class Prover:
    """Proofs that the test ends one by one."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._may_end = threading.Semaphore(0)

    def end(self, proofs: int) -> None:
        self._may_end.release(proofs)

    def of(self, name: str, *, genuine: bool) -> Callable[[], bool]:
        def prove() -> bool:
            self.begun.append(name)
            assert self._may_end.acquire(timeout=10)
            return genuine

        return prove


@pytest.fixture
def prover() -> Prover:
    return Prover()


@pytest.fixture
def queue() -> Iterator[ChainQueue]:
    made = ChainQueue("test")
    yield made
    made.close()


async def ask(queue: ChainQueue, prover: Prover, name: str, *, genuine: bool = False) -> asyncio.Task[None]:
    """Let a text with that chain wait."""
    chain = (name, "intermediate", "root")
    waiting = asyncio.create_task(queue.prove(chain, prover.of(name, genuine=genuine), nothing))
    await asyncio.sleep(0)
    return waiting


async def test_texts_with_one_chain_share_one_proof(queue: ChainQueue, prover: Prover) -> None:
    waiting = [await ask(queue, prover, "new", genuine=True) for _ in range(50)]
    prover.end(1)
    await asyncio.gather(*waiting)
    assert prover.begun == ["new"]


async def test_a_disproven_chain_is_not_tried_again(queue: ChainQueue, prover: Prover) -> None:
    prover.end(1)
    for _ in range(3):
        with pytest.raises(ChainDisproven):
            await (await ask(queue, prover, "forged"))
    assert prover.begun == ["forged"]


async def test_the_chain_that_most_texts_bring_goes_first(queue: ChainQueue, prover: Prover) -> None:
    waiting = [await ask(queue, prover, f"forged {number}") for number in range(20)]
    buyers = [await ask(queue, prover, "new", genuine=True) for _ in range(2)]
    await asyncio.sleep(0.05)
    prover.end(2)
    await asyncio.gather(*buyers)
    assert prover.begun[:2] == ["forged 0", "new"]
    prover.end(20)
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_buyer_who_retries_gets_in_while_a_flood_of_new_chains_fills_the_queue(
    queue: ChainQueue, prover: Prover
) -> None:
    flood = [await ask(queue, prover, f"forged {number}") for number in range(WAITING_LIMIT)]
    await asyncio.sleep(0.05)
    with pytest.raises(Retryable) as shed:
        await (await ask(queue, prover, "new", genuine=True))
    assert shed.value.http_status == 503
    for number in range(200):  # the flood goes on, and its chains are new each time
        with pytest.raises(Retryable):
            await (await ask(queue, prover, f"later {number}"))
    retry = await ask(queue, prover, "new", genuine=True)
    prover.end(2)
    await retry
    assert prover.begun[:2] == ["forged 0", "new"]
    prover.end(WAITING_LIMIT)
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(Retryable) == 1  # the one that was removed to make room


async def test_a_caller_who_gives_up_ends_no_other_wait(queue: ChainQueue, prover: Prover) -> None:
    first = await ask(queue, prover, "new", genuine=True)
    second = await ask(queue, prover, "new", genuine=True)
    await asyncio.sleep(0.05)
    first.cancel()
    prover.end(1)
    await second


async def test_a_proof_that_fails_fails_alone(queue: ChainQueue, prover: Prover) -> None:
    def broken() -> bool:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError):
        await queue.prove(("broken",), broken, nothing)
    prover.end(1)
    await (await ask(queue, prover, "new", genuine=True))
