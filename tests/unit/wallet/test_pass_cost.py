"""A pass costs its RSA signature and little else, and delays no other call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from services.wallet.package import PassPress
from services.wallet.pass_json import PassFacts
from services.wallet.signing import SigningCredentials
from services.wallet.signing_room import SigningRoom

TOKEN = "t" * 43
# The whole pass has a budget of 1 ms, of which RSA-2048 takes 0.4 on a quiet core of today.
BESIDE_RSA_LIMIT_MS = 0.6


def cpu_ms(work: Callable[[], object], times: int = 100) -> float:
    """The fastest of several rounds, because noise only adds time."""
    rounds = []
    for _ in range(7):
        began = time.process_time()
        for _ in range(times):
            work()
        rounds.append((time.process_time() - began) * 1000 / times)
    return min(rounds)


@pytest.mark.alone
def test_beside_its_rsa_signature_a_pass_costs_little(
    press: PassPress, facts: PassFacts, credentials: SigningCredentials
) -> None:
    whole = cpu_ms(lambda: press.press(facts, TOKEN))
    rsa = cpu_ms(lambda: credentials.private_key.sign(b"x" * 900, PKCS1v15(), SHA256()))
    assert whole - rsa <= BESIDE_RSA_LIMIT_MS, f"{whole:.2f} ms a pass, {rsa:.2f} ms of it RSA"


async def test_other_calls_go_on_between_two_passes(press: PassPress, facts: PassFacts) -> None:
    signed = 0

    class CountingPress:
        def press(self, of: PassFacts, token: str) -> bytes:
            nonlocal signed
            signed += 1
            return press.press(of, token)

    room = SigningRoom(CountingPress(), queue_limit=1_000)  # type: ignore[arg-type]
    orders = asyncio.gather(*(room.press(facts, TOKEN) for _ in range(100)))
    at_each_turn = []
    while not orders.done():
        at_each_turn.append(signed)
        await asyncio.sleep(0)
    assert len(await orders) == 100
    steps = [later - earlier for earlier, later in pairwise(at_each_turn)]
    assert max(steps) == 1, "two passes were signed in one turn of the loop"
