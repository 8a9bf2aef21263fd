"""The draw engine: a batcher of entries for each draw, and the loops that take draws from step to step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg

from services.data.batching.batcher import Batcher
from services.data.storage.database import LONG_TRANSACTION_S, Database
from services.draw import metrics
from services.draw.chains import QUICKNET
from services.draw.development_beacon import DevelopmentBeacon
from services.draw.document import DrawWatch
from services.draw.entering import EntryCycle, EntryOrder, TakenEntry
from services.draw.relays import Relays
from services.draw.settings import DrawSettings
from services.draw.signing import DrawSigner
from services.draw.statements import QUERIES
from services.draw.terms import Terms
from services.draw.worker import (
    FORGET_INTERVAL_S,
    FORGET_MORE_S,
    STEP_S,
    Beacons,
    DrawWorker,
    ForgettingEntrants,
    Stuck,
    able_signer,
)
from services.mint.drops import Drop
from services.server.runtime.background import Loop
from vyris.errors import NotFound, NotOffered, Retryable, VyrisError

WAITING_LIMIT = 4_096
BATCH_LIMIT = 256
BATCHES_AT_ONCE = 2  # as for mints, which share the process


class DrawEngine:
    """Takes and reads entries, and reads draws."""

    background: Sequence[Loop]
    """The steps of draws, and the deletion of old entrants; it must run while the engine takes entries."""

    def __init__(self, database: Database, signer: DrawSigner | None, beacons: Beacons, settings: DrawSettings) -> None:
        self._database = database
        self._signer = signer
        self._beacons = beacons
        self.watch = DrawWatch(database)
        self._turns = asyncio.Semaphore(BATCHES_AT_ONCE)
        self._batchers: dict[int, Batcher[str, EntryOrder, TakenEntry]] = {}
        self._terms: dict[int, Terms] = {}
        self._signers: dict[int, DrawSigner] = {}
        worker = DrawWorker(database, beacons, signer)
        forgetting = ForgettingEntrants(database, settings.entry_retention_d)
        self.background = (
            # The count of a tree and the draw are long transactions: a shorter limit would cancel them each time.
            Loop(
                "draws",
                run=worker.once,
                every_s=settings.draw_interval_ms / 1000,
                more_s=STEP_S,
                limit_s=2 * LONG_TRANSACTION_S,
            ),
            Loop("entrant_forgetting", run=forgetting.once, every_s=FORGET_INTERVAL_S, more_s=FORGET_MORE_S),
        )

    async def enter(self, drop: Drop, order: EntryOrder, deadline_s: float) -> tuple[TakenEntry, str] | VyrisError:
        """The user's entry and its promise, or why there is none: DropNotOpen, LimitReached, Retryable.

        Raises NotFound, Retryable.
        """
        terms = await self.terms(drop)
        signer = self._able_signer(drop, terms)
        taken = await self._batcher(drop).ask(order.user_id, order, deadline_s)
        if isinstance(taken, VyrisError):
            metrics.ENTRIES(taken.reason).inc()
            return taken
        metrics.ENTRIES("REPLAYED" if taken.replayed else "ENTERED").inc()
        name = f"{drop.tier}/{drop.year}"
        return taken, signer.promise(name, terms.hash, taken.leaf_hash, taken.entered_at)

    def _able_signer(self, drop: Drop, terms: Terms) -> DrawSigner:
        """The signer of the promise. Raises Retryable if this process could not take the draw to its end."""
        able = self._signers.get(drop.id)
        if able is not None:
            return able
        try:
            self._beacons.chain(terms)
            able = self._signers[drop.id] = able_signer(self._signer, terms)
        except Stuck as stuck:
            metrics.STUCK.labels(drop.tier, drop.year, stuck.why).set(1)
            message = "Entries cannot be promised right now; send the same request again"
            raise Retryable(message, http_status=503) from stuck
        return able

    async def terms(self, drop: Drop) -> Terms:
        """The terms of a draw, which never change. Raises NotFound, Retryable."""
        terms = self._terms.get(drop.id)
        if terms is None:
            row = await self._database.fetchrow(QUERIES["read_terms"], drop.id)
            if row is None:
                raise NotFound("This drop sells without a draw")
            terms = self._terms[drop.id] = Terms.read(row["terms"])
        return terms

    async def find(self, entry_id: UUID) -> asyncpg.Record | None:
        """An entry with its state, rank and offer; None if there is none. Raises Retryable."""
        return await self._database.fetchrow(QUERIES["find_entry"], entry_id)

    async def withdraw(self, entry_id: UUID) -> bool:
        """Withdraw an entry; False if it is too late, or it is withdrawn already. Raises Retryable."""
        return await self._database.fetchrow(QUERIES["withdraw"], entry_id) is not None

    async def find_offer(self, drop: Drop, user_id: str) -> asyncpg.Record | VyrisError:
        """The hold of a user's live offer, or NotOffered. Raises NotFound, Retryable.

        Before the root is published nobody has an offer: the cached document answers, without a statement.
        """
        state = (await self.watch.read(drop)).message.state
        row = None
        if state not in {"ANNOUNCED", "ENTERING"}:
            row = await self._database.fetchrow(QUERIES["find_offer"], drop.id, user_id)
        if row is None:
            return NotOffered(retryable=state not in {"DONE", "CANCELLED"})
        return row

    async def leaf_page(self, drop: Drop, kind: str, page: int) -> bytes | None:
        """The hashes of a page, one after the other; None if there is no such page. Raises Retryable."""
        row = await self._database.fetchrow(QUERIES["read_leaf_page"], drop.id, kind, page)
        return None if row is None else row["leaves"]

    async def offers(self, drop: Drop, first_rank: int, limit: int) -> list[asyncpg.Record]:
        """At most `limit` offers, from `first_rank` on. Raises Retryable."""
        return await self._database.fetch(QUERIES["list_offers"], drop.id, first_rank, limit)

    def _batcher(self, drop: Drop) -> Batcher[str, EntryOrder, TakenEntry]:
        batcher = self._batchers.get(drop.id)
        if batcher is None:
            batcher = self._batchers[drop.id] = Batcher(
                EntryCycle(drop, self._database),
                name=f"enter {drop.tier} {drop.year}",
                waiting_limit=WAITING_LIMIT,
                batch_limit=BATCH_LIMIT,
                turns=self._turns,
            )
        return batcher

    async def close(self) -> None:
        """Answer all callers that still wait with Retryable."""
        await asyncio.gather(*(batcher.close() for batcher in self._batchers.values()))


@asynccontextmanager
async def running_draws(
    database: Database,
    settings: DrawSettings,
    signer: DrawSigner | None,
    development: DevelopmentBeacon | None,
    relays: Relays | None = None,
) -> AsyncIterator[DrawEngine]:
    """An engine, and its end. Its caller runs `engine.background`. `development`: None in production."""
    relays = relays or Relays(QUICKNET, settings.relay_urls())
    beacons = Beacons(relays, development)
    engine = DrawEngine(database, signer, beacons, settings)
    try:
        yield engine
    finally:
        await engine.close()
        await relays.aclose()
