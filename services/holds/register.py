"""The statements over holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

import asyncpg

from services.data.storage.database import Database
from services.holds.statements import QUERIES
from services.limits import PersonKey, key_columns


class HoldOrder(NamedTuple):
    """A user who wants a hold, and the user's keys that count in the drop."""

    user_id: str
    keys: tuple[PersonKey, ...]


class Outcome(StrEnum):
    """The outcome for one user in `take_holds`; `queries.sql` describes each."""

    HELD = "HELD"
    REPLAYED = "REPLAYED"
    LIMIT_REACHED = "LIMIT_REACHED"
    NOT_OPEN = "NOT_OPEN"
    CLOSED = "CLOSED"
    HELD_OUT = "HELD_OUT"
    SOLD_OUT = "SOLD_OUT"
    WAITING = "WAITING"


class HoldRow(NamedTuple):
    """The row of one user."""

    outcome: str  # an Outcome
    id: UUID | None
    expires_at: datetime | None
    sort_order: int | None  # the slot's, if this statement claimed one


class Taken(NamedTuple):
    """The rows of one statement."""

    own: dict[str, HoldRow]  # users with a row of their own
    others: HoldRow | None  # the answer for all others

    def of(self, user_id: str) -> HoldRow | None:
        """The row of a user."""
        return self.own.get(user_id, self.others)

    @property
    def rows(self) -> Iterable[HoldRow]:
        """Every row."""
        return self.own.values() if self.others is None else [*self.own.values(), self.others]


class HoldRegister:
    """Takes and reads holds. Every method raises DatabaseUnavailable, DataRejected."""

    def __init__(self, database: Database, tally_writer: int) -> None:
        """`tally_writer` (0 to `TALLY_WRITERS` - 1) is this process's row among the tallies."""
        self._database = database
        self._tally_writer = tally_writer

    async def take(self, drop_id: int, orders: Sequence[HoldOrder], *, limit: int, beyond_sort_order: int) -> Taken:
        """Take at most `limit` holds for `orders` (sorted by user)."""
        asked = (drop_id, [order.user_id for order in orders], *key_columns([order.keys for order in orders]))
        if limit:
            rows = await self._database.fetch(
                QUERIES["take_holds"], *asked, limit, beyond_sort_order, self._tally_writer
            )
        else:
            rows = await self._database.fetch(QUERIES["answer_without_slots"], *asked)
        own = {user_id: HoldRow(*row) for user_id, *row in rows}
        return Taken(own, own.pop(None, None))

    async def read(self, hold_id: UUID) -> asyncpg.Record | None:
        """A hold with the names of its drop."""
        return await self._database.fetchrow(QUERIES["read_hold"], hold_id)

    async def extend(self, hold_id: UUID) -> datetime | None:
        """Extend a hold. Return its new end, or None if it cannot be extended."""
        row = await self._database.fetchrow(QUERIES["extend_hold"], hold_id)
        return row["expires_at"] if row else None
