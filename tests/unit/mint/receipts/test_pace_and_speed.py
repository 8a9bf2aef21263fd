"""Verification does not block the event loop, and is fast enough."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.mint.receipts.app_store import AppStoreVerifier
from services.mint.receipts.app_store_signatures import PIECES_A_TURN, AppStoreSignatures
from services.mint.receipts.pace import Pace
from services.mint.receipts.proven_chains import CHAINS_LIMIT, ProvenChains
from services.mint.receipts.verified import ReceiptClaim
from tests.signers.app_store import APP_ID, BUNDLE_ID, PRODUCT, AppStoreSigner, now_ms

USER = "2c1f6f4e-6b0c-4f0e-9a56-1d2f3a4b5c6d"


async def test_a_turn_of_the_loop_does_a_bounded_number_of_pieces_in_order() -> None:
    pace = Pace(4)
    done: list[tuple[int, int]] = []
    turn = 0

    async def piece(number: int) -> None:
        await pace.turn()
        done.append((turn, number))

    pieces = [asyncio.create_task(piece(number)) for number in range(30)]
    given_up = pieces.pop(20)
    while not all(task.done() for task in pieces):
        turn += 1
        if turn == 2:
            given_up.cancel()
        await asyncio.sleep(0)
    numbers = [number for _, number in done]
    assert numbers == sorted(set(range(30)) - {20})
    for each in {at for at, _ in done}:
        assert sum(at == each for at, _ in done) <= 4
    await asyncio.sleep(0.01)
    for number in range(4):
        await asyncio.wait_for(piece(number), 1)


@pytest.mark.alone
async def test_a_core_verifies_a_thousand_receipts_a_second_and_the_loop_goes_on_meanwhile() -> None:
    store = AppStoreSigner()
    signatures = AppStoreSignatures([store.root.certificate], BUNDLE_ID, APP_ID, online_checks=False)
    verifier = AppStoreVerifier(signatures, {PRODUCT: ("genesis", "2025")})
    receipts = [store.transaction(USER) for _ in range(512)]
    await verifier.verify(ReceiptClaim(receipts[0], USER, None))
    turns = 0
    finished = asyncio.Event()

    async def other_work() -> None:
        nonlocal turns
        while not finished.is_set():
            turns += 1
            await asyncio.sleep(0)

    working = asyncio.create_task(other_work())
    # The CPU time of this thread, because other processes do not change it.
    started_s = time.thread_time()
    await asyncio.gather(*(verifier.verify(ReceiptClaim(receipt, USER, None)) for receipt in receipts))
    taken_s = time.thread_time() - started_s
    finished.set()
    await working
    signatures.close()
    print(f"{len(receipts) / taken_s:.0f} receipts per second of one core, {turns} turns of the loop meanwhile")
    assert len(receipts) / taken_s >= 1_000
    assert turns >= len(receipts) / PIECES_A_TURN - 1


def test_proven_chains_are_few() -> None:
    store = AppStoreSigner()
    chains = ProvenChains([store.root.certificate])
    first = chains.read(tuple(store.chain()))
    assert first is not None
    assert chains.find(first.chain) is None
    chains.remember(first)
    signed_at_s = now_ms() / 1000
    assert chains.find(first.chain) is first
    assert [first.covers(signed_at_s + days * 86_400) for days in (-3, 0, 400)] == [False, True, False]
    for _ in range(CHAINS_LIMIT):
        more = chains.read(tuple(store.chain(store.new_leaf())))
        assert more is not None
        chains.remember(more)
    assert chains.find(first.chain) is None
