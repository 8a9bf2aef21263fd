"""The mint engine: a batcher for each drop, and the loops that repair counts and receipts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from services.data.batching.batcher import Batcher
from services.data.storage.database import Database
from services.mint import metrics
from services.mint.audit import INTERVAL_S as AUDIT_INTERVAL_S
from services.mint.audit import REST as AUDIT_REST
from services.mint.audit import Audit
from services.mint.bouncer import Bouncer, redis_client
from services.mint.counted_cycle import CountedMintCycle
from services.mint.cycle import MintAnswer, MintCycle
from services.mint.drops import TALLY_WRITERS, Drop
from services.mint.ledger import CountedLedger, Ledger, MintOrder
from services.mint.reaper import CATCHING_UP_S, Reaper
from services.mint.recount import Recounter
from services.mint.settings import MintSettings
from services.server.runtime.background import Loop
from vyris.errors import VyrisError

# How many batches of different drops run at once. With eight drops and no limit a batch held one receipt, and the
# process minted 860 a second instead of 1,820 (`python -m tests.bench --full`, drops at once). With a limit of one, a
# batch that waits for a lock or a slow disk would delay every other drop.
BATCHES_AT_ONCE = 2


class MintEngine:
    """Turns verified receipts into memberships."""

    background: Sequence[Loop]
    """The repairs, which must run while the engine mints."""

    def __init__(self, database: Database, bouncer: Bouncer, settings: MintSettings) -> None:
        tally_writer = random.randrange(TALLY_WRITERS)  # noqa: S311 - spreads writers
        self._ledger = Ledger(database, tally_writer)
        self._counted_ledger = CountedLedger(database, tally_writer)
        self._bouncer = bouncer
        self._recounter = Recounter(database, bouncer)
        self._settings = settings
        self._turns = asyncio.Semaphore(BATCHES_AT_ONCE)
        self._batchers: dict[int, Batcher[bytes, MintOrder, MintAnswer]] = {}
        reaper = Reaper(database, settings.reaper_grace_ms / 1000)
        audit = Audit(database, lambda: reaper.settled_before)
        self.background = (
            Loop("recount", run=self._recounter.once, every_s=settings.recount_interval_ms / 1000),
            Loop("reaper", run=reaper.once, every_s=settings.reaper_interval_ms / 1000, more_s=CATCHING_UP_S),
            Loop("audit", run=audit.once, every_s=AUDIT_INTERVAL_S, rest=AUDIT_REST),
        )

    async def mint(self, drop: Drop, order: MintOrder, deadline_s: float) -> MintAnswer | VyrisError:
        """Mint a receipt. Return its membership and whether it was minted before, or the refusal.

        Refusals: SoldOut, ReceiptUsed, InvalidReceipt, DropNotOpen, Retryable; in a drop that sells by hold or has
        limits also HeldOut, HoldExpired, HoldRequired, LimitReached. `deadline_s`: how long the caller still waits.
        """
        answer = await self._batcher(drop).ask(order.receipt.key, order, deadline_s)
        if isinstance(answer, VyrisError):
            metrics.MINTS(answer.reason).inc()
        else:
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
            cycle = (
                CountedMintCycle(drop, self._counted_ledger, self._bouncer, self._recounter.recount)
                if drop.is_counted
                else MintCycle(drop, self._ledger, self._bouncer, self._recounter.recount)
            )
            batcher = self._batchers[drop.id] = Batcher(
                cycle,
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
    """An engine and its bouncer, and their end. Its caller runs `engine.background`."""
    bouncer = Bouncer(redis_client(settings), settings)
    engine = MintEngine(database, bouncer, settings)
    try:
        yield engine, bouncer
    finally:
        await engine.close()
        await bouncer.close()
