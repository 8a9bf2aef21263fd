"""Drops, and a directory that finds them by name."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import asyncpg

from services.data.storage.database import Database
from services.mint.receipts.verified import Environment
from services.mint.statements import QUERIES
from vyris.errors import NotFound

CAPACITY_LIMIT: Final = 10_000_000
UNKNOWN_MEMORY_S: Final = 1.0
UNKNOWN_MEMORY_LIMIT: Final = 1_000
TALLY_WRITERS: Final = 16  # rows of a drop's tally; the schema allows no more


@dataclass(frozen=True, slots=True)
class Drop:
    """The facts of a drop that never change."""

    id: int
    tier: str
    year: str
    environment: Environment
    sale: str = "direct"  # direct, hold or draw
    limits: frozenset[str] = frozenset()  # the kinds of person keys that count

    @property
    def is_counted(self) -> bool:
        """Whether holds or person keys decide who gets a number."""
        return self.sale != "direct" or bool(self.limits)


class DropDirectory:
    """Finds drops by name and caches them: a drop is never deleted, and its name never changes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[str, str, Environment], Drop] = {}
        self._unknown_until_s: dict[tuple[str, str, Environment], float] = {}

    async def numbered(self, drop_id: int) -> Drop:
        """The drop with this id. Raises NotFound, Retryable."""
        for drop in self._known.values():
            if drop.id == drop_id:
                return drop
        row = await self._database.fetchrow(QUERIES["find_drop_by_id"], drop_id)
        if row is None:
            raise NotFound("There is no such drop")
        return self._remember(row)

    async def named(self, tier: str, year: str, environment: Environment = "production") -> Drop:
        """The drop with this name. Raises NotFound, cached for a second so that guessing costs Postgres little."""
        name = (tier, year, environment)
        drop = self._known.get(name)
        if drop is not None:
            return drop
        if time.monotonic() < self._unknown_until_s.get(name, 0.0):
            raise NotFound("There is no such drop")
        row = await self._database.fetchrow(QUERIES["find_drop"], tier, year, environment)
        if row is None:
            if len(self._unknown_until_s) >= UNKNOWN_MEMORY_LIMIT:
                self._unknown_until_s.clear()
            self._unknown_until_s[name] = time.monotonic() + UNKNOWN_MEMORY_S
            raise NotFound("There is no such drop")
        return self._remember(row)

    async def check_name(self, tier: str, year: str) -> None:
        """Raises NotFound unless a drop has that name; a sandbox drop is enough."""
        try:
            await self.named(tier, year)
        except NotFound:
            await self.named(tier, year, "sandbox")

    def _remember(self, row: asyncpg.Record) -> Drop:
        drop = Drop(row["id"], row["tier"], row["year"], row["environment"], row["sale"], frozenset(row["limits"]))
        self._known[drop.tier, drop.year, drop.environment] = drop
        return drop
