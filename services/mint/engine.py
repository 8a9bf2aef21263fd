"""The mint engine: a batcher for each drop, and what keeps the whole in repair."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.batching.batcher import Batcher
from services.mint import metrics
from services.mint.audit import Audit
from services.mint.bouncer import Bouncer, redis_client
from services.mint.counted_cycle import CountedMintCycle
from services.mint.cycle import MintAnswer, MintCycle
from services.mint.drops import TALLY_WRITERS, Drop
from services.mint.ledger import CountedLedger, Ledger, MintOrder
from services.mint.reaper import Reaper
from services.mint.recount import Recounter
from services.mint.settings import MintSettings
from services.storage.database import Database
from vyris.errors import VyrisError

# Drops whose batches run at once. With eight drops and no bound a batch held one receipt, and the process minted 860 a
# second instead of 1,820 (`python -m tests.bench --full`, drops at once); with one, a batch that waits for a lock or
# for a slow disk would hold up every other drop.
BATCHES_AT_ONCE = 2


class MintEngine:
    """Turns verified receipts into memberships."""

    def __init__(self, database: Database, bouncer: Bouncer, recounter: Recounter, settings: MintSettings) -> None:
        tally_writer = random.randrange(TALLY_WRITERS)  # noqa: S311 - spreads writers
        self._ledger = Ledger(database, tally_writer)
        self._counted_ledger = CountedLedger(database, tally_writer)
        self._bouncer = bouncer
        self._recounter = recounter
        self._settings = settings
        self._turns = asyncio.Semaphore(BATCHES_AT_ONCE)
        self._batchers: dict[int, Batcher[bytes, MintOrder, MintAnswer]] = {}

    async def mint(self, drop: Drop, order: MintOrder, deadline_s: float) -> MintAnswer:
        """The membership of a receipt, and whether it was minted before.

        Raises SoldOut, ReceiptUsed, InvalidReceipt, DropNotOpen, Retryable.
        """
        try:
            answer = await self._batcher(drop).submit(order.receipt.key, order, deadline_s)
        except VyrisError as refusal:
            metrics.MINTS(refusal.reason).inc()
            raise
        metrics.MINTS("REPLAYED" if answer[1] else "FULFILLED").inc()
        return answer

    async def recount(self, drop: Drop) -> None:
        """Write Postgres' number of unclaimed slots over the bouncer's count of a drop. Raises DatabaseUnavailable."""
        await self._recounter.recount(drop)

    async def minted_in(self, receipt_key: bytes) -> int | None:
        """The id of the drop where the receipt became a membership, even if it was revoked since. Raises Retryable."""
        return await self._ledger.minted_in(receipt_key)

    def _batcher(self, drop: Drop) -> Batcher[bytes, MintOrder, MintAnswer]:
        batcher = self._batchers.get(drop.id)
        if batcher is None:
            kind, ledger = (CountedMintCycle, self._counted_ledger) if drop.is_counted else (MintCycle, self._ledger)
            batcher = self._batchers[drop.id] = Batcher(
                kind(drop, ledger, self._bouncer, self._recounter.recount),
                name=f"mint {drop.tier} {drop.year} {drop.environment}",
                waiting_limit=self._settings.mint_queue_limit,
                batch_limit=self._settings.mint_batch_limit,
                turns=self._turns,
            )
        return batcher

    async def close(self) -> None:
        """Answer all callers that still wait with Retryable."""
        await asyncio.gather(*(batcher.close() for batcher in self._batchers.values()))


@asynccontextmanager
async def running_engine(database: Database, settings: MintSettings) -> AsyncIterator[tuple[MintEngine, Bouncer]]:
    """An engine with its recount and reaper at work."""
    bouncer = Bouncer(redis_client(settings), settings)
    recounter = Recounter(database, bouncer, settings.recount_interval_ms / 1000)
    reaper = Reaper(database, settings.reaper_grace_ms / 1000, settings.reaper_interval_ms / 1000)
    engine = MintEngine(database, bouncer, recounter, settings)
    audit = Audit(database, lambda: reaper.settled_before)
    repairs = [asyncio.create_task(work.run()) for work in (recounter, reaper, audit)]
    try:
        yield engine, bouncer
    finally:
        for repair in repairs:
            repair.cancel()
        await asyncio.gather(*repairs, return_exceptions=True)
        await engine.close()
        await bouncer.close()
