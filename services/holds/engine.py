"""The hold engine: a batcher for each drop, and the loops that take numbers back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import asyncpg

from services.data.batching.batcher import Batcher
from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.holds import metrics
from services.holds.cycle import HoldCycle, Recount, TakenHold
from services.holds.ending import FORGET_INTERVAL_S, Forgetting, Lapses, end_hold
from services.holds.register import HoldOrder, HoldRegister
from services.mint.bouncer import Bouncer
from services.mint.drops import TALLY_WRITERS, Drop, DropDirectory
from services.server.runtime.background import Loop
from services.supply import Returned
from services.supply.settings import HoldSettings
from vyris.errors import VyrisError

WAITING_LIMIT = 4_096
BATCH_LIMIT = 256
BATCHES_AT_ONCE = 2  # as for mints, which share the process


class HoldEngine:
    """Takes, ends and reads holds."""

    background: Sequence[Loop]
    """They take numbers back and delete person keys; they must run while the engine takes holds."""

    def __init__(
        self, database: Database, bouncer: Bouncer, drops: DropDirectory, recount: Recount, settings: HoldSettings
    ) -> None:
        self._database = database
        self._register = HoldRegister(database, tally_writer=random.randrange(TALLY_WRITERS))  # noqa: S311 - spreads writers
        self._bouncer = bouncer
        self._recount = recount
        self._lapses = Lapses(database, bouncer, drops, grace_s=settings.hold_grace_s)
        self._turns = asyncio.Semaphore(BATCHES_AT_ONCE)
        self._batchers: dict[int, Batcher[str, HoldOrder, TakenHold]] = {}
        forgetting = Forgetting(database, settings.person_key_retention_d)
        lapse_interval_s = settings.hold_lapse_interval_ms / 1000
        self.background = (
            Loop("hold_lapses", run=self._lapses.once, every_s=lapse_interval_s, more_s=0.01),
            Loop("person_key_forgetting", run=forgetting.once, every_s=FORGET_INTERVAL_S, more_s=0.1),
        )

    async def take(self, drop: Drop, order: HoldOrder, deadline_s: float) -> TakenHold | VyrisError:
        """Return the user's hold, or why there is none: HeldOut, SoldOut, LimitReached, DropNotOpen, Retryable."""
        taken = await self._batcher(drop).ask(order.user_id, order, deadline_s)
        if isinstance(taken, VyrisError):
            metrics.TAKES(taken.reason).inc()
        else:
            metrics.TAKES("REPLAYED" if taken.replayed else "HELD").inc()
        return taken

    async def read(self, hold_id: UUID) -> asyncpg.Record | None:
        """Return a hold with the names of its drop, or None. Raises Retryable."""
        return await self._register.read(hold_id)

    async def extend(self, hold_id: UUID) -> datetime | None:
        """Extend a hold. Return its new end, or None if it cannot be extended. Raises Retryable."""
        return await self._register.extend(hold_id)

    async def release(self, hold_id: UUID) -> bool:
        """Give a hold's number back. Return False if the hold had ended. Raises Retryable."""

        async def work(connection: Connection) -> tuple[int, Returned] | None:
            return await end_hold(connection, hold_id, "RELEASED")

        ended = await self._database.in_transaction(work)
        if ended is None:
            return False
        metrics.ENDED("RELEASED").inc()
        await self._lapses.report_returned(*ended)
        return True

    def _batcher(self, drop: Drop) -> Batcher[str, HoldOrder, TakenHold]:
        batcher = self._batchers.get(drop.id)
        if batcher is None:
            batcher = self._batchers[drop.id] = Batcher(
                HoldCycle(drop, self._register, self._bouncer, self._recount),
                name=f"hold {drop.tier} {drop.year}",
                waiting_limit=WAITING_LIMIT,
                batch_limit=BATCH_LIMIT,
                turns=self._turns,
            )
        return batcher

    async def close(self) -> None:
        """Answer all callers that still wait with Retryable."""
        await asyncio.gather(*(batcher.close() for batcher in self._batchers.values()))


@asynccontextmanager
async def running_holds(
    database: Database, bouncer: Bouncer, drops: DropDirectory, recount: Recount, settings: HoldSettings
) -> AsyncIterator[HoldEngine]:
    """An engine, and its end. Its caller runs `engine.background`."""
    engine = HoldEngine(database, bouncer, drops, recount, settings)
    try:
        yield engine
    finally:
        await engine.close()
