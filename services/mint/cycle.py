"""The mint cycle of one batch of receipts of one drop.

    1  ask        the bouncer grants up to n slots
    2  mint       one statement enters the receipts, claims as many slots and writes the memberships
    3  answer     every caller gets the answer of its receipt's row
    4  give back  the slots that were granted and not used

If the last batch was replays alone, this one probably is, too: then one read answers the receipts that were decided
before (step 0), and only the others go through the four steps. The read needs no slot and writes nothing, so a crash in
it leaves nothing.

While the bouncer has enough slots, steps 1 and 2 run in parallel: the statement may claim a slot for each receipt, and
Postgres decides whether there is one. If the bouncer had too few slots for the last batch, step 2 waits for its
answer. If the drop was sold out in Postgres a moment ago, the batch asks for no slot and claims none.

A crash in step 1 leaves a count in Redis that is too low; the recount corrects it. A crash in step 2 leaves everything
or nothing, and no caller has an answer; a retry replays the membership, or mints. A crash in steps 3 and 4 leaves a
count that may be wrong. A receipt that is still undecided goes into the next batch.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

import structlog

from services.data.batching.batcher import Group
from services.data.storage.bisection import around_refused
from services.data.storage.failures import DatabaseUnavailable, DataRejected
from services.mint import metrics
from services.mint.bouncer import Bouncer, count_key
from services.mint.drops import Drop
from services.mint.grant import Grant
from services.mint.ledger import NOTHING_FREE, Ledger, MintedMembership, MintOrder, MintRow, Outcome
from services.mint.stock import FROM_THE_START, Stock
from services.server import failpoints
from vyris.errors import (
    DropNotOpen,
    HeldOut,
    HoldExpired,
    HoldRequired,
    InvalidReceipt,
    LimitReached,
    ReceiptUsed,
    Retryable,
    SoldOut,
    VyrisError,
)

log = structlog.get_logger(__name__)

# The membership, and whether it was minted before.
MintAnswer = tuple[MintedMembership, bool]
ReceiptGroup = Group[bytes, MintOrder, MintAnswer]
Groups = list[ReceiptGroup]
Recount = Callable[[Drop], Awaitable[None]]
POISONED_MESSAGE: Final = "This purchase cannot become a membership; ask its seller to pay it back"

REFUSALS: Final[dict[str, Callable[[], VyrisError]]] = {
    Outcome.REFUNDED: lambda: InvalidReceipt("This receipt was refunded"),
    Outcome.NOT_OPEN: lambda: DropNotOpen("This drop is not open yet", retryable=True),
    Outcome.CLOSED: lambda: DropNotOpen("This drop is closed"),
    Outcome.SOLD_OUT: SoldOut,
    Outcome.HELD_OUT: HeldOut,
    Outcome.HOLD_OFFERED: ReceiptUsed,
    Outcome.HOLD_EXPIRED: lambda: HoldExpired(
        "This hold has ended and no number is free. The payment is recorded: it gets the next number that comes back "
        "when it is sent again, or is refunded when the drop closes"
    ),
    Outcome.HOLD_REQUIRED: HoldRequired,
    Outcome.HOLD_UNKNOWN: lambda: InvalidReceipt("This receipt names a hold that is not this buyer's"),
    Outcome.LIMIT_REACHED: LimitReached,
}


class MintCycle:
    """Works on the batches of one drop."""

    def __init__(self, drop: Drop, ledger: Ledger, bouncer: Bouncer, recount: Recount) -> None:
        self._drop = drop
        self._count_key = count_key(drop.tier, drop.year, drop.environment)
        self._ledger = ledger
        self._bouncer = bouncer
        self._recount = recount
        self._stock = Stock()
        self._bouncer_had_enough = True
        self._expects_replays = False

    async def __call__(self, batch: Groups) -> Groups:
        """Answer the receipts that can be decided; return the groups for the next batch."""
        metrics.BATCH_RECEIPTS.observe(len(batch))
        for group in batch:
            group.begin()
        batch.sort(key=lambda group: group.key)
        try:
            undecided = await self._replay(batch) if self._expects_replays else batch
            return await self._ask_and_mint(undecided) if undecided else []
        except DatabaseUnavailable as error:
            return await self._record(batch, error)

    async def _replay(self, batch: Groups) -> Groups:
        """Step 0: answer the receipts that were decided before. Return the other groups."""
        with metrics.STEP_SECONDS("replay").time():
            rows = await self._ledger.find_decided([group.key for group in batch])
        return self._answer(batch, rows)

    async def _ask_and_mint(self, batch: Groups) -> Groups:
        """Steps 1 to 4. Return the groups for the next batch."""
        is_sold_out = self._stock.is_sold_out
        async with Grant(self._bouncer, self._count_key, wanted=0 if is_sold_out else len(batch)) as grant:
            limit = len(batch) if self._bouncer_had_enough and not is_sold_out else await grant.limit()
            again = await self._mint(batch, grant, limit, is_sold_out=is_sold_out)
        if not is_sold_out:
            self._bouncer_had_enough = grant.is_enough
        if (grant.is_unknown or (again and not grant.is_enough)) and self._stock.is_recount_due():
            await self._recount(self._drop)
        return again

    async def _mint(self, batch: Groups, grant: Grant, limit: int, *, is_sold_out: bool) -> Groups:
        """Steps 2 and 3. If Postgres refuses data of a receipt, halve the batch to find it, so that it fails alone."""

        async def mint_part(groups: Groups) -> Groups:
            began_s = time.monotonic()
            with metrics.STEP_SECONDS("mint").time():
                rows = await self._ledger.mint(
                    self._drop.id,
                    [group.first for group in groups],
                    limit=max(0, min(limit - grant.used, len(groups))),
                    beyond_sort_order=self._stock.claimed_up_to,
                    is_sold_out=is_sold_out,
                )
            grant.used += sum(row.sort_order is not None for row in rows.values())
            await failpoints.reach("mint.committed")
            if not is_sold_out:
                self._remember_stock(rows.values(), began_s)
            return self._answer(groups, rows)

        parts = await around_refused(batch, mint_part, self._poison)
        return [group for part in parts for group in part]

    def _remember_stock(self, rows: Iterable[MintRow], began_s: float) -> None:
        """Cache what the statement has seen of the drop's slots."""
        claimed = [row.sort_order for row in rows if row.sort_order is not None]
        outcomes = {row.outcome for row in rows}
        if Outcome.WAITING in outcomes or outcomes & NOTHING_FREE:
            self._stock.claimed_up_to = FROM_THE_START
            self._stock.remember(is_sold_out=bool(outcomes & NOTHING_FREE), seen_at_s=began_s)
        elif claimed:
            self._stock.claimed_up_to = max(claimed)

    def _answer(self, groups: Groups, rows: dict[bytes, MintRow]) -> Groups:
        """Step 3. Return the groups that are still undecided."""
        self._expects_replays = len(rows) == len(groups) and all(
            row.outcome == Outcome.REPLAYED for row in rows.values()
        )
        undecided = []
        for group in groups:
            row = rows.get(group.key)
            if (
                row is None
                or row.outcome == Outcome.WAITING
                or (row.outcome == Outcome.SOLD_OUT and not self._stock.may_answer_sold_out)
            ):
                undecided.append(group)
            else:
                group.settle(partial(make_answer, row))
        return undecided

    async def _record(self, batch: Groups, failure: DatabaseUnavailable) -> Groups:
        """Step 2 after a statement failed: at least enter the receipts, and answer those that were decided before."""
        log.warning("batch_unfinished", receipts=len(batch), error=failure.cause)
        try:
            with metrics.STEP_SECONDS("record").time():
                rows = await self._ledger.record(self._drop.id, [group.first for group in batch])
        except (DatabaseUnavailable, DataRejected) as error:
            log.warning("receipts_not_recorded", receipts=len(batch), error=error.cause)
            rows = {}
        for group in self._answer(batch, rows):
            group.settle_all(Retryable())
        return []

    async def _poison(self, group: ReceiptGroup, refusal: DataRejected) -> None:
        """Fail a receipt whose data Postgres refuses: the first time its caller may retry, then the answer is final.

        It is FAILED in the ledger, so it is listed for a refund. If it cannot be entered, the first answer is final.
        """
        metrics.RECEIPTS_POISONED.inc()
        log.error("receipt_poisoned", receipt_key=group.key.hex(), cause=refusal.cause)
        try:
            await self._ledger.record(self._drop.id, [group.first])
            is_first_time = group.key in await self._ledger.fail([group.key], "POISONED")
        except DataRejected as error:
            log.error("receipts_not_recorded", receipts=1, error=error.cause)
            is_first_time = False
        group.settle_all(Retryable() if is_first_time else InvalidReceipt(POISONED_MESSAGE))


def make_answer(row: MintRow, order: MintOrder, is_first: bool) -> MintAnswer | VyrisError:
    """Return the answer for the caller of `order`. `is_first`: the group was made for this caller's request."""
    if row.membership is not None and order.user_id != row.membership.user_id:
        return ReceiptUsed()
    if (refusal := REFUSALS.get(row.outcome)) is not None:
        return refusal()
    if row.membership is None:
        raise AssertionError(f"a receipt is {row.outcome} and has no membership")
    if row.is_revoked:
        return InvalidReceipt("The membership of this receipt was revoked")
    return row.membership, row.outcome == Outcome.REPLAYED or not is_first
