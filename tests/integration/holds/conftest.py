"""Hold engines on real databases, beside mint engines on the same drop."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from admin.drops import NewDrop, create_drop
from services.data.storage.database import Database
from services.holds.cycle import TakenHold
from services.holds.ending import Lapses
from services.holds.engine import HoldEngine, running_holds
from services.holds.register import HoldOrder
from services.limits import PersonKeys
from services.mint.cycle import MintAnswer
from services.mint.drops import Drop, DropDirectory
from services.mint.ledger import EnrolledDevice
from services.supply.settings import HoldSettings
from tests.hold_trials.supply_sum import SUM, check_sum
from tests.stand_ins.mint_engine import Mint, MintMaker
from vyris.errors import VyrisError

_tiers = itertools.count(1)


@dataclass
class Shop:
    """One process with its mints and holds in one drop."""

    mint: Mint
    holds: HoldEngine
    keys: PersonKeys
    drop: Drop
    database: Database
    lapses: Lapses

    async def take(self, user: str, **proven: str) -> TakenHold:
        keys = await self.keys.of(self.drop.id, self.drop.limits, {"user": user, **proven})
        taken = await self.holds.take(self.drop, HoldOrder(user, keys), 10)
        if isinstance(taken, VyrisError):
            raise taken
        return taken

    async def pay(
        self,
        receipt: str,
        user: str,
        enrolled: EnrolledDevice | None = None,
        hold_id: UUID | None = None,
        **proven: str,
    ) -> MintAnswer:
        keys = await self.keys.of(self.drop.id, self.drop.limits, {"user": user, **proven})
        return await self.mint.mint(receipt, user, keys=keys, device=enrolled, hold_id=hold_id)

    async def value(self, query: str, *args: object) -> Any:
        return await self.mint.value(query, *args)

    async def expire(self) -> None:
        """Move every live hold past its time and grace."""
        await self.database.execute("UPDATE holds SET expires_at = now() - interval '1 hour' WHERE state = 'HELD'")

    async def lapse(self) -> None:
        while await self.lapses.once():
            pass

    async def lose_hold(self, user: str) -> None:
        """Let `user` take a hold, and every live hold lapse."""
        await self.take(user)
        await self.expire()
        await self.lapse()

    async def check_sum(self) -> None:
        """Check that slots, holds, live memberships and kept numbers add up to the capacity, as in the tallies."""
        row = await self.database.fetchrow(SUM, self.drop.id)
        assert row is not None
        check_sum(row)


OpenShop = Callable[..., Awaitable[Shop]]


async def outcomes(*calls: Any) -> list[Any]:
    """The answers and refusals of calls at once."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(answer, tuple | VyrisError) for answer in answers), answers
    return answers


@pytest.fixture
async def open_shop(make_mint: MintMaker) -> AsyncIterator[OpenShop]:
    """Makes a process with its own drop, or, with `drop`, another process on the same drop."""
    async with AsyncExitStack() as stack:

        async def open_one(
            capacity: int = 10,
            drop: Drop | None = None,
            sale: str = "hold",
            limits: tuple[str, ...] = (),
            closes_at: datetime | None = None,
            **new: Any,
        ) -> Shop:
            database = make_mint.database
            directory = DropDirectory(database)
            if drop is None:
                tier = f"hold-{next(_tiers)}"
                wanted = NewDrop(tier, "2025", capacity, closes_at=closes_at, sale=sale, limits=limits, **new)
                await database.in_transaction(lambda connection: create_drop(connection, wanted))
                drop = await directory.named(tier, "2025")
            mint = await make_mint(drop=drop)
            settings = HoldSettings(hold_lapse_interval_ms=60_000)
            recount = mint.engine.recount
            holds = await stack.enter_async_context(running_holds(database, mint.bouncer, directory, recount, settings))
            lapses = Lapses(database, mint.bouncer, directory, grace_s=60)
            return Shop(mint, holds, PersonKeys(database), drop, database, lapses)

        yield open_one
