"""A flood of forged texts, each with a new chain, and buyers beside it."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from services.mint.receipts.app_store import AppStoreVerifier
from services.mint.receipts.app_store_signatures import AppStoreSignatures
from services.mint.receipts.verified import ReceiptClaim
from services.mint.refunds.app_store import AppStoreNotices
from tests.signers.app_store import APP_ID, BUNDLE_ID, PRODUCT, AppStoreSigner, now_ms, transaction_claims
from vyris.errors import InvalidReceipt, Retryable, Unauthorized

USER = "2c1f6f4e-6b0c-4f0e-9a56-1d2f3a4b5c6d"
FORGERS = 800
PATIENCE_S = 6.0


class Forger:
    """Makes receipts and notifications, each under a new chain, at little cost."""

    def __init__(self, genuine: AppStoreSigner) -> None:
        self._signer = AppStoreSigner()
        self._root = genuine.chain()[2]
        self._leaf = self._signer.leaf.certificate.public_bytes(Encoding.DER)
        data = {"bundleId": BUNDLE_ID, "appAppleId": APP_ID, "environment": "Production"}
        notice = {"notificationType": "REFUND", "notificationUUID": "x", "signedDate": now_ms(), "data": data}
        self._claims = {"receipts": transaction_claims(USER), "notifications": notice}

    def forge(self, kind: str) -> str:
        leaf = base64.b64encode(self._leaf[:-8] + os.urandom(8)).decode()  # the end of its issuer's signature
        headers = {"x5c": [leaf, self._signer.chain()[1], self._root], "typ": None}
        return jwt.encode(self._claims[kind], self._signer.leaf.key, algorithm="ES256", headers=headers)


@asynccontextmanager
async def flood_of_forgers(
    send: Callable[[str], Awaitable[object]], forge: Callable[[], str]
) -> AsyncIterator[list[object]]:
    """Forgers who send again as soon as they are answered; yields the answers that they get."""
    answers: list[object] = []

    async def send_on() -> None:
        while True:
            try:
                answers.append(await send(forge()))
            except (InvalidReceipt, Unauthorized, Retryable) as refusal:
                answers.append(refusal)
            await asyncio.sleep(0.001)

    forgers = [asyncio.create_task(send_on()) for _ in range(FORGERS)]
    await asyncio.sleep(0.5)
    yield answers
    for forger in forgers:
        forger.cancel()
    await asyncio.gather(*forgers, return_exceptions=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["receipts", "notifications"])
async def test_buyers_mint_beside_a_flood_with_a_known_chain_and_with_a_new_one(kind: str) -> None:
    store = AppStoreSigner()
    signatures = AppStoreSignatures([store.root.certificate], BUNDLE_ID, APP_ID, online_checks=False)
    verifier = AppStoreVerifier(signatures, {PRODUCT: ("genesis", "2025")})
    forger, new_leaf = Forger(store), store.new_leaf()

    async def buy(receipt: str) -> object:
        return await verifier.verify(ReceiptClaim(receipt, USER, None))

    async def patient_buyer() -> tuple[int, float]:
        """Attempts and seconds that a buyer needs under a chain that is new to us."""
        receipt, began_s = store.transaction(USER, leaf=new_leaf), time.monotonic()
        for attempt in itertools.count(1):
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await buy(receipt)
            except Retryable:
                assert time.monotonic() - began_s < PATIENCE_S, f"in vain, after {attempt} attempts"
                await asyncio.sleep(0.1)
            else:
                return attempt, time.monotonic() - began_s
        raise AssertionError

    known = [store.transaction(USER) for _ in range(100)]
    await buy(known[0])
    waits_s = []
    send = buy if kind == "receipts" else AppStoreNotices(signatures).read
    async with flood_of_forgers(send, lambda: forger.forge(kind)) as answers:
        for receipt in known:
            began_s = time.monotonic()
            await buy(receipt)
            waits_s.append(time.monotonic() - began_s)
        buyers = await asyncio.gather(*(patient_buyer() for _ in range(15)))
    signatures.close()
    assert not [answer for answer in answers if not isinstance(answer, Exception)], "a forgery was accepted"
    waits_s.sort()
    print(f"known chain: median {waits_s[50] * 1_000:.1f} ms, p99 {waits_s[98] * 1_000:.1f} ms; ", end="")
    print(f"new chain: {max(buyers)[0]} attempts, {max(seconds for _, seconds in buyers):.2f} s; {len(answers)} forged")
    assert waits_s[98] < 0.25
