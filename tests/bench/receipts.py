"""How many App Store receipts a core verifies, and how long the event loop is blocked.

python -m tests.bench.receipts        compares: paced (as the service does it), all in one turn, and in threads
"""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from services.identity.jose import read_token, verify_token
from services.mint.receipts.app_store import AppStoreVerifier
from services.mint.receipts.app_store_signatures import AppStoreSignatures
from services.mint.receipts.verified import ReceiptClaim
from tests.signers.app_store import APP_ID, BUNDLE_ID, PRODUCT, AppStoreSigner

RECEIPTS = 256
ROUNDS = 15


class Watch:
    """The longest time that the loop was blocked."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._task = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while True:
            began_s = time.perf_counter()
            await asyncio.sleep(0)
            self.longest_s = max(self.longest_s, time.perf_counter() - began_s)

    def stop(self) -> None:
        self._task.cancel()


async def measure(name: str, verify: Callable[[str], Awaitable[Any]], receipts: list[str]) -> None:
    rates, stalls_ms = [], []
    for _ in range(ROUNDS):
        watch = Watch()
        await asyncio.sleep(0)
        began_cpu_s = time.process_time()
        await asyncio.gather(*(verify(receipt) for receipt in receipts))
        rates.append(len(receipts) / (time.process_time() - began_cpu_s))
        stalls_ms.append(watch.longest_s * 1_000)
        watch.stop()
    print(
        f"{name:28} {statistics.median(rates):8.0f} a second of processor, stall {statistics.median(stalls_ms):6.1f} ms"
    )


async def main() -> None:
    store, user = AppStoreSigner(), str(uuid.uuid4())
    signatures = AppStoreSignatures([store.root.certificate], BUNDLE_ID, APP_ID, online_checks=False)
    verifier = AppStoreVerifier(signatures, {PRODUCT: ("genesis", "2025")})
    receipts = [store.transaction(user) for _ in range(RECEIPTS)]
    await verifier.verify(ReceiptClaim(receipts[0], user, None))

    def bare(receipt: str) -> None:
        token = read_token(receipt, typ=frozenset({None, "jwt"}), max_bytes=49_152)
        chain = signatures._chains.find(tuple(token.header["x5c"]))
        assert chain is not None
        verify_token(token, chain.leaf)

    async def in_one_turn(receipt: str) -> None:
        bare(receipt)

    print(f"{RECEIPTS} receipts at once, {ROUNDS} rounds, medians")
    await measure("paced", lambda receipt: verifier.verify(ReceiptClaim(receipt, user, None)), receipts)
    await measure("all in one turn", in_one_turn, receipts)
    await measure("in threads", lambda receipt: asyncio.to_thread(bare, receipt), receipts)
    signatures.close()


if __name__ == "__main__":
    uvloop.run(main())
