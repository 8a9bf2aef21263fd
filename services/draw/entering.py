"""The entry cycle: one batch of users who enter one draw.

    1  make    a salt and a leaf for each
    2  enter   one statement writes the entries and the person keys
    3  answer  each caller gets the statement's result for its user, with a signed promise

A crash before step 2 commits leaves nothing. A crash after it leaves the entries, and callers without an answer: a
retry gets the same entry and the same promise. A group stays undecided if the close has begun, or if another process
counts the same key: then it goes into the next batch.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import structlog

from services.data.batching.batcher import Group
from services.data.storage.bisection import around_refused
from services.data.storage.database import Database
from services.data.storage.failures import DatabaseUnavailable, DataRejected
from services.draw.maths import SALT_BYTES, leaf, leaf_hash
from services.draw.statements import QUERIES
from services.limits import PersonKey, key_columns
from services.mint.drops import Drop
from services.server import failpoints
from vyris.errors import DropNotOpen, LimitReached, Retryable, VyrisError

ENTRIES_A_PERSON: Final = 10
"""How often one user can enter a draw, withdrawn entries included: each leaves a row."""

log = structlog.get_logger(__name__)


class EntryOrder(NamedTuple):
    """A user who enters, and the person keys that count in the drop."""

    user_id: str
    keys: tuple[PersonKey, ...]


class TakenEntry(NamedTuple):
    """An entry, and whether the user had it before."""

    id: UUID
    salt: bytes
    leaf_hash: bytes
    entered_at: datetime
    replayed: bool


EntryGroup = Group[str, EntryOrder, TakenEntry]
Groups = list[EntryGroup]

WAITING: Final = "WAITING"
REPLAYED: Final = "REPLAYED"
REFUSALS: Final[dict[str, Callable[[], VyrisError]]] = {
    "LIMIT_REACHED": LimitReached,
    "NOT_OPEN": lambda: DropNotOpen("Entries for this draw are not open yet", retryable=True),
    "CLOSED": lambda: DropNotOpen("Entries for this draw are closed"),
}


class EntryCycle:
    """Works on the batches of one draw."""

    def __init__(self, drop: Drop, database: Database) -> None:
        self._drop = drop
        self._database = database

    async def __call__(self, batch: Groups) -> Groups:
        """Answer the decided groups; return the others for the next batch."""
        batch.sort(key=lambda group: group.key)
        raced: Groups = []

        async def put_aside(group: EntryGroup, _: DataRejected) -> None:
            raced.append(group)

        try:
            parts = await around_refused(batch, self._enter, put_aside)
        except DatabaseUnavailable as error:
            log.warning("entries_unfinished", users=len(batch), error=error.cause)
            for group in batch:
                group.settle_all(Retryable())
            return []
        return [group for part in parts for group in part] + raced

    async def _enter(self, groups: Groups) -> Groups:
        rows = await self._database.fetch(QUERIES["enter"], *self._columns([group.first for group in groups]))
        await failpoints.reach("draw.entered")
        found = {row["user_id"]: row for row in rows}
        undecided = []
        for group in groups:
            row = found.get(group.key)
            if row is None or row["outcome"] == WAITING:
                undecided.append(group)
            else:
                group.settle(partial(_answer, row))
        return undecided

    def _columns(self, orders: Sequence[EntryOrder]) -> tuple[object, ...]:
        users = [order.user_id for order in orders]
        salts = [secrets.token_bytes(SALT_BYTES) for _ in users]
        leaves = [
            leaf_hash(leaf(self._drop.tier, self._drop.year, salt, user))
            for salt, user in zip(salts, users, strict=True)
        ]
        keys = key_columns([order.keys for order in orders])
        return self._drop.id, users, [uuid4() for _ in users], salts, leaves, *keys, ENTRIES_A_PERSON


def _answer(row: asyncpg.Record, _: EntryOrder, is_first: bool) -> TakenEntry | VyrisError:
    """The answer for one caller. `is_first`: its request is the first one of its user in the batch."""
    outcome = row["outcome"]
    refusal = REFUSALS.get(outcome)
    if refusal is not None:
        return refusal()
    replayed = outcome == REPLAYED or not is_first
    return TakenEntry(row["id"], row["salt"], row["leaf_hash"], row["entered_at"], replayed)
