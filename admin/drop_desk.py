"""The operator's commands for drops: find, list, create, resize, schedule and close them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import asyncpg

from admin import draws, drops
from admin.draws import NewDraw
from admin.drops import Drop, Environment, NewDrop, Progress
from admin.settings import NewHoldSettings
from admin.statements import QUERIES
from services.data.audit_log import Actor, audited
from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.limits.statements import QUERIES as LIMIT_QUERIES
from services.mint.drop_watch import drop_state
from services.mint.drops import DropDirectory
from services.mint.settings import DefaultDropSettings
from services.server.runtime.settings import load
from services.server.runtime.times import rfc3339


class FixedTerms(Exception):
    """The drop sells by a draw, and the terms of a draw never change."""


class KeysDestroyed(Exception):
    """The drop closed so long ago that its person keys were destroyed: it can no longer keep its limits."""


def default_drop(sale: str = "direct") -> NewDrop:
    """The drop that the settings DROP_* and HOLD_* describe. Raises what `load` raises.

    An offer of a draw is a hold for a day that cannot be extended, because the next rank waits for its number.
    """
    default, hold = load(DefaultDropSettings), load(NewHoldSettings)
    is_draw = sale == "draw"
    return NewDrop(
        default.drop_tier,
        default.drop_year,
        default.drop_capacity,
        sale=sale,
        hold_ttl_s=draws.OFFER_S if is_draw else hold.hold_ttl_s,
        hold_extensions=0 if is_draw else hold.hold_extensions,
        hold_attempts=hold.hold_attempts,
    )


async def list_drops(database: Database, tier: str | None = None, year: str | None = None) -> list[dict[str, Any]]:
    """All drops, or those of a tier or a year, newest first. Raises DatabaseUnavailable."""
    return [_with_counts(row) for row in await database.fetch(QUERIES["list_drops"], tier, year)]


def _with_counts(row: asyncpg.Record) -> dict[str, Any]:
    minted = row["taken"] - row["held"]
    remaining = row["capacity"] - minted
    state = drop_state(early=row["early"], late=row["late"], remaining=remaining, held=row["held"])
    return {**row, "minted": minted, "remaining": remaining, "state": state}


async def find_capacity(database: Database, tier: str, year: str, environment: Environment) -> int | None:
    """Return the capacity of the drop with this name, or None. Raises DatabaseUnavailable."""
    rows = await database.fetch(QUERIES["list_drops"], tier, year)
    return next((row["capacity"] for row in rows if row["environment"] == environment), None)


async def count_rows(database: Database, drop_id: int) -> dict[str, int]:
    """Count a drop's slots and live memberships row by row, to check its tallies."""
    slots = await database.fetchrow(QUERIES["count_slots"], drop_id)
    live = await database.fetchrow(QUERIES["count_live"], drop_id)
    return {
        "slots_counted": slots["count"] if slots else 0,
        "live_memberships": live["count"] if live else 0,
    }


async def find_drop(database: Database, tier: str, year: str, environment: Environment) -> Drop:
    """The drop of that name. Raises NotFound, DatabaseUnavailable."""
    return await DropDirectory(database).named(tier, year, environment)


class DropDesk:
    """Changes drops. Each change leaves an entry in the audit log. Every method raises DatabaseUnavailable."""

    def __init__(self, database: Database, actor: Actor) -> None:
        """`actor`: the name and the reason for the audit log."""
        self._database = database
        self._actor = actor

    async def create(
        self, new: NewDrop, progress: Progress = lambda _: None, draw: NewDraw | None = None
    ) -> int | None:
        """Create a drop and its numbers, and announce its draw. Return its id, or None if it exists already.

        Raises TermsRefused.
        """

        async def work(connection: Connection) -> int | None:
            if draw is None:
                drop_id = await drops.create_drop(connection, new, progress)
            else:
                drop_id = await draws.create_draw(connection, new, draw, progress)
            if drop_id is not None:
                await self._actor.note(
                    connection,
                    "drop.create",
                    f"{new.tier} {new.year}",
                    drop_id=drop_id,
                    environment=new.environment,
                    capacity=new.capacity,
                    opens_at=rfc3339(new.opens_at),
                    closes_at=rfc3339(new.closes_at),
                    refund_frees_number=new.refund_frees_number,
                    sale=new.sale,
                    limits=list(new.limits),
                )
            return drop_id

        return await audited(self._database, work, takes_minutes=True)

    async def resize(self, drop: Drop, capacity: int) -> int:
        """Give a drop another capacity. Return the capacity before. Raises CannotResize, FixedTerms.

        Redis' counts follow with `admin.bouncer.write_counts`.
        """
        _refuse_draw(drop)
        return await audited(
            self._database,
            lambda connection: drops.resize_drop(connection, drop, capacity, self._actor),
            takes_minutes=True,
        )

    async def schedule(self, drop: Drop, opens_at: datetime | None, closes_at: datetime | None) -> None:
        """Let a drop sell from `opens_at` until `closes_at`; None is no limit. Raises FixedTerms, KeysDestroyed.

        Postgres' clock decides in every statement that mints, so a change counts from the next statement on.
        """
        _refuse_draw(drop)
        if drop.limits and await self._database.fetchrow(LIMIT_QUERIES["find_secret"], drop.id) is None:
            raise KeysDestroyed
        await self._set_times("drop.schedule", drop, QUERIES["schedule_drop"], opens_at, closes_at)

    async def close(self, drop: Drop) -> None:
        """End a drop's sale now; a drop that is closed stays closed. Raises FixedTerms."""
        _refuse_draw(drop)
        await self._set_times("drop.close", drop, QUERIES["close_drop"])

    async def _set_times(self, action: str, drop: Drop, statement: str, *times: datetime | None) -> None:
        async def work(connection: Connection) -> bool:
            row = await connection.fetchrow(statement, drop.id, *times)
            assert row is not None  # noqa: S101 - a drop is never deleted
            await self._actor.note(
                connection,
                action,
                f"{drop.tier} {drop.year}",
                drop_id=drop.id,
                environment=drop.environment,
                opens_at=rfc3339(row["opens_at"]),
                closes_at=rfc3339(row["closes_at"]),
            )
            return True

        await audited(self._database, work)


def _refuse_draw(drop: Drop) -> None:
    if drop.sale == "draw":
        raise FixedTerms
