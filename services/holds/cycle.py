"""The hold cycle of one batch of users who want a hold in one drop.

    1  ask        the bouncer grants up to n slots, as for mints
    2  take       one statement claims as many slots and writes the holds
    3  answer     every caller gets the answer of its user's row
    4  give back  the slots that were granted and not used

A crash in step 1 leaves a count in Redis that is too low; the recount corrects it. A crash in step 2 leaves everything
or nothing, and no caller has an answer; a retry finds the hold, or takes one. A crash in steps 3 and 4 leaves a count
that may be wrong.

If no number was free a moment ago, the batch asks for no slot and claims none: a storm of refusals costs a few index
look-ups and writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

import structlog

from services.data.batching.batcher import Group
from services.data.storage.bisection import around_refused
from services.data.storage.failures import DatabaseUnavailable, DataRejected
from services.holds.register import HoldOrder, HoldRegister, HoldRow, Outcome, Taken
from services.mint.bouncer import Bouncer, count_key
from services.mint.drops import Drop
from services.mint.grant import Grant
from services.mint.stock import FROM_THE_START, Stock
from services.server import failpoints
from vyris.errors import DropNotOpen, HeldOut, LimitReached, Retryable, SoldOut, VyrisError

log = structlog.get_logger(__name__)


class TakenHold(NamedTuple):
    """A live hold, and whether the user had it before."""

    id: UUID
    expires_at: datetime
    replayed: bool


HoldGroup = Group[str, HoldOrder, TakenHold]
Groups = list[HoldGroup]
Recount = Callable[[Drop], Awaitable[None]]

REFUSALS: Final[dict[str, Callable[[], VyrisError]]] = {
    Outcome.LIMIT_REACHED: LimitReached,
    Outcome.NOT_OPEN: lambda: DropNotOpen("This drop is not open yet", retryable=True),
    Outcome.CLOSED: lambda: DropNotOpen("This drop is closed"),
    Outcome.HELD_OUT: HeldOut,
    Outcome.SOLD_OUT: SoldOut,
}
NOTHING_FREE: Final = {Outcome.HELD_OUT, Outcome.SOLD_OUT}


class HoldCycle:
    """Works on the batches of one drop."""

    def __init__(self, drop: Drop, register: HoldRegister, bouncer: Bouncer, recount: Recount) -> None:
        self._drop = drop
        self._count_key = count_key(drop.tier, drop.year, drop.environment)
        self._register = register
        self._bouncer = bouncer
        self._recount = recount
        self._stock = Stock()
        self._bouncer_had_enough = True

    async def __call__(self, batch: Groups) -> Groups:
        """Answer the users that can be decided; return the groups for the next batch."""
        batch.sort(key=lambda group: group.key)
        is_out = self._stock.is_sold_out
        async with Grant(self._bouncer, self._count_key, wanted=0 if is_out else len(batch)) as grant:
            limit = len(batch) if self._bouncer_had_enough and not is_out else await grant.limit()
            try:
                again = await self._take(batch, grant, 0 if is_out else limit)
            except DatabaseUnavailable as error:
                log.warning("holds_unfinished", users=len(batch), error=error.cause)
                for group in batch:
                    group.settle_all(Retryable())
                again = []
        if not is_out:
            self._bouncer_had_enough = grant.is_enough
        if (grant.is_unknown or (again and not grant.is_enough)) and self._stock.is_recount_due():
            await self._recount(self._drop)
        return again

    async def _take(self, batch: Groups, grant: Grant, limit: int) -> Groups:
        """Steps 2 and 3. If another process takes the same key or user at the same time, halve the batch to find it."""
        raced: Groups = []

        async def take_part(groups: Groups) -> Groups:
            began_s = time.monotonic()
            taken = await self._register.take(
                self._drop.id,
                [group.first for group in groups],
                limit=max(0, min(limit - grant.used, len(groups))),
                beyond_sort_order=self._stock.claimed_up_to,
            )
            grant.used += sum(row.outcome == Outcome.HELD for row in taken.rows)
            await failpoints.reach("hold.committed")
            self._look_at_stock(taken.rows, began_s)
            return self._answer(groups, taken)

        async def put_aside(group: HoldGroup, _: DataRejected) -> None:
            raced.append(group)

        parts = await around_refused(batch, take_part, put_aside)
        return [group for part in parts for group in part] + raced

    def _look_at_stock(self, rows: Iterable[HoldRow], began_s: float) -> None:
        """Cache what the statement has seen of the drop's slots."""
        claimed = [row.sort_order for row in rows if row.sort_order is not None]
        outcomes = {row.outcome for row in rows}
        if outcomes & {Outcome.WAITING, *NOTHING_FREE}:
            self._stock.claimed_up_to = FROM_THE_START
            self._stock.remember(is_sold_out=bool(outcomes & NOTHING_FREE), seen_at_s=began_s)
        elif claimed:
            self._stock.claimed_up_to = max(claimed)

    def _answer(self, groups: Groups, taken: Taken) -> Groups:
        """Step 3. Return the groups that are still undecided."""
        undecided = []
        for group in groups:
            row = taken.of(group.key)
            if row is None or row.outcome == Outcome.WAITING:
                undecided.append(group)
            else:
                group.settle(partial(answer, row))
        return undecided


def answer(row: HoldRow, _: HoldOrder, is_first: bool) -> TakenHold | VyrisError:
    """Return the answer for a caller. `is_first`: this request was the first of its user in the batch."""
    if (refusal := REFUSALS.get(row.outcome)) is not None:
        return refusal()
    if row.id is None or row.expires_at is None:
        raise AssertionError(f"who is {row.outcome} has a hold")
    return TakenHold(row.id, row.expires_at, row.outcome == Outcome.REPLAYED or not is_first)
