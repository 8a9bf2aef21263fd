"""A mint engine on real databases, with helpers for tests."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from admin.drops import Drop, NewDrop, create_drop, resize_drop
from services.data.audit_log import Actor
from services.data.storage.database import Database
from services.mint.bouncer import Bouncer, count_key
from services.mint.cycle import MintAnswer
from services.mint.engine import MintEngine, running_engine
from services.mint.ledger import MintOrder
from services.mint.receipts.verified import VerifiedReceipt, receipt_key
from services.mint.settings import MintSettings
from services.server.runtime.background import running
from vyris.errors import VyrisError

_tiers = itertools.count(1)


def order(receipt: str, user: str = "buyer", **changes: Any) -> MintOrder:
    """The order that the servicer would make from an opaque receipt."""
    verified = VerifiedReceipt(receipt_key("opaque", "", receipt), "opaque", None)
    return MintOrder(verified, user, None, None)._replace(**changes)


async def eventually(true: Callable[[], Awaitable[bool]], within_s: float = 10) -> None:
    """Wait until it is true."""
    async with asyncio.timeout(within_s):
        while not await true():
            await asyncio.sleep(0.02)


@dataclass
class Mint:
    """One process' engine, its databases, and the drop that the test uses."""

    engine: MintEngine
    bouncer: Bouncer
    database: Database
    drop: Drop

    async def mint(self, receipt: str, user: str = "buyer", **changes: Any) -> MintAnswer:
        return await self.mint_order(order(receipt, user, **changes))

    async def mint_order(self, one: MintOrder) -> MintAnswer:
        """Mint an order. Raises the engine's refusal."""
        answer = await self.engine.mint(self.drop, one, 10)
        if isinstance(answer, VyrisError):
            raise answer
        return answer

    async def resize(self, capacity: int) -> None:
        await self.database.in_transaction(
            lambda connection: resize_drop(connection, self.drop, capacity, Actor("test", "a test"))
        )

    async def value(self, query: str, *args: object) -> Any:
        row = await self.database.fetchrow(query, *args)
        return row[0] if row else None

    async def ledger(self) -> dict[str, int]:
        """How many receipts are in each state, with its reason."""
        rows = await self.database.fetch(
            "SELECT state::text || coalesce(' ' || reason, '') AS state, count(*) FROM receipt_ledger GROUP BY 1"
        )
        return {row["state"]: row["count"] for row in rows}

    async def slots(self) -> int:
        """Count the unclaimed slots row by row, after comparing them with the tallies."""
        counted = await self.value("SELECT count(*) FROM slots WHERE drop_id = $1", self.drop.id)
        tallied = await self.value(
            "SELECT capacity - (SELECT sum(taken) FROM drop_tallies WHERE drop_id = d.id) FROM drops d WHERE id = $1",
            self.drop.id,
        )
        assert counted == tallied
        return int(counted)

    async def is_counted(self) -> bool:
        """Whether the engine's first recount is over, because it would overwrite the count of a test's mints."""
        return await self.bouncer.read(self.count_key) is not None

    @property
    def count_key(self) -> str:
        return count_key(self.drop.tier, self.drop.year, self.drop.environment)


class MintMaker:
    """Makes drops, and engines as processes would be."""

    def __init__(self, database: Database, settings: MintSettings, stack: AsyncExitStack) -> None:
        self.database = database
        self.settings = settings
        self._stack = stack

    async def __call__(
        self,
        capacity: int = 10,
        opens_at: datetime | None = None,
        closes_at: datetime | None = None,
        drop: Drop | None = None,
        **settings: Any,
    ) -> Mint:
        changed = self.settings.model_copy(update=settings)
        drop = drop or await self._drop(capacity, opens_at, closes_at)
        engine, bouncer = await self._stack.enter_async_context(running_engine(self.database, changed))
        await self._stack.enter_async_context(running(engine.background))
        mint = Mint(engine, bouncer, self.database, drop)
        if "redis_url" not in settings:
            await eventually(mint.is_counted)
        return mint

    async def _drop(self, capacity: int, opens_at: datetime | None, closes_at: datetime | None) -> Drop:
        new = NewDrop(f"tier-{next(_tiers)}", "2025", capacity, opens_at=opens_at, closes_at=closes_at)
        drop_id = await self.database.in_transaction(lambda connection: create_drop(connection, new))
        assert drop_id is not None
        return Drop(drop_id, new.tier, new.year, "production")


@asynccontextmanager
async def mint_maker(database_url: str, redis_url: str) -> AsyncIterator[MintMaker]:
    # Repairs stay out of the way of tests that do not ask for them. On a busy machine Redis may take longer to answer
    # than a service would wait, and the first recount would be missed.
    settings = MintSettings(
        _env_file=None,
        database_url=database_url,
        redis_url=redis_url,
        redis_timeout_ms=2_000,
        recount_interval_ms=60_000,
        reaper_grace_ms=3_600_000,
    )
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database.open(settings, "test"))
        yield MintMaker(database, settings, stack)
