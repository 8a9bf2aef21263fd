"""Revocation checks: one for all callers, renewed before it is too old, cached for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from services.mint.receipts import revocation_checks
from services.mint.receipts.proven_chains import ProvenChains, ReadChain
from services.mint.receipts.revocation_checks import VALID_S, ChainRevoked, RevocationChecks
from tests.signers.app_store import AppStoreSigner
from tests.stand_ins.mint_engine import eventually
from vyris.errors import Retryable


class Responder:
    """A stand-in for Apple's responder."""

    def __init__(self) -> None:
        self.asked = 0
        self.failure: Exception | None = None

    def __call__(self) -> None:
        self.asked += 1
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def chain() -> ReadChain:
    store = AppStoreSigner()
    chain = ProvenChains([store.root.certificate]).read(tuple(store.chain()))
    assert chain is not None
    return chain


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def checks(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> Iterator[RevocationChecks]:
    monkeypatch.setattr(revocation_checks, "RENEW_AFTER_S", 0.05)
    monkeypatch.setattr(revocation_checks, "TRY_AGAIN_AFTER_S", 0.05)
    made = RevocationChecks(lambda: clock[0])
    yield made
    made.close()


async def test_apple_is_asked_once_for_all_who_wait(checks: RevocationChecks, chain: ReadChain) -> None:
    responder = Responder()
    await asyncio.gather(*(checks.check(chain, responder) for _ in range(100)))
    assert responder.asked == 1
    assert checks.is_fresh(chain)


async def test_a_check_is_renewed_in_the_background_before_it_is_too_old(
    checks: RevocationChecks, chain: ReadChain, clock: list[float]
) -> None:
    responder = Responder()
    await checks.check(chain, responder)
    for passed_s in (0.9, 1.8, 2.7):  # each beyond the age of the check before
        clock[0] = passed_s * VALID_S - 1
        asked = responder.asked

        async def has_renewed(asked: int = asked) -> bool:
            return responder.asked >= asked + 2

        await eventually(has_renewed)
        assert checks.is_fresh(chain)


async def test_while_the_responder_is_away_the_last_check_holds_for_an_hour(
    checks: RevocationChecks, chain: ReadChain, clock: list[float]
) -> None:
    responder = Responder()
    await checks.check(chain, responder)
    responder.failure = Retryable()

    async def has_retried() -> bool:
        return responder.asked >= 4

    await eventually(has_retried)
    clock[0] = VALID_S - 1
    assert checks.is_fresh(chain)
    clock[0] = VALID_S
    assert not checks.is_fresh(chain)
    with pytest.raises(Retryable):
        await checks.check(chain, responder)


async def test_a_revoked_chain_is_no_longer_accepted(checks: RevocationChecks, chain: ReadChain) -> None:
    responder = Responder()
    await checks.check(chain, responder)
    responder.failure = ChainRevoked()

    async def forgotten() -> bool:
        return not checks.is_fresh(chain)

    await eventually(forgotten)
    with pytest.raises(ChainRevoked):
        await checks.check(chain, responder)
