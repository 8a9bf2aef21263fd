"""The mint cycle: what happens to one batch of receipts of one drop.

    1  enter      receipts into the ledger; what is known already is answered
    2  admit      the bouncer grants up to n slots
    3  fulfil     one Postgres transaction decides, claims and writes
    4  give back  what was granted and not used

While a drop sells, most of a batch is new and the bouncer has enough: then one statement does 1 and 3 for what is new,
and the bouncer is asked beside it. Whatever that leaves goes on with step 2.

A crash after 1 leaves PENDING rows (the retry, else the reaper), after 2 a count that is too low (the recount), after 3
a membership that the retry replays, after 4 nothing. Where 1 and 3 are one statement, nothing lies between; after it
the count may also be too high (the recount), for Redis may not have been reached yet.
Whatever could not be decided goes into the next batch, where step 1 reads it anew.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from services import failpoints
from services.batching.batcher import Group
from services.mint import metrics
from services.mint.admission import Admission
from services.mint.bouncer import Bouncer, count_key
from services.mint.drops import Drop
from services.mint.ledger import Ledger, LedgerEntry, MintedMembership, MintOrder
from services.mint.stock import Stock
from services.storage.bisection import around_refused
from services.storage.failures import DatabaseUnavailable, DataRejected
from vyris.errors import DropNotOpen, InvalidReceipt, ReceiptUsed, Retryable, SoldOut, VyrisError

log = structlog.get_logger(__name__)

# The membership, and whether it was minted before.
MintAnswer = tuple[MintedMembership, bool]
ReceiptGroup = Group[bytes, MintOrder, MintAnswer]
Groups = list[ReceiptGroup]
Recount = Callable[[Drop], Awaitable[None]]
POISONED_MESSAGE: Final = "This purchase cannot become a membership; ask its seller to pay it back"


@dataclass(frozen=True, slots=True)
class Claim:
    """What step 3 did with some groups."""

    used: int = 0
    undecided: Groups = field(default_factory=list)
    short: bool = False


class MintCycle:
    """Works on the batches of one drop."""

    def __init__(self, drop: Drop, ledger: Ledger, bouncer: Bouncer, recount: Recount) -> None:
        self._drop = drop
        self._count_key = count_key(drop.tier, drop.year, drop.environment)
        self._ledger = ledger
        self._bouncer = bouncer
        self._recount = recount
        self._stock = Stock()
        # Whether the next batch mints what is new in one statement: most of the last one was minted, and the bouncer
        # had enough. Else a storm of replays would ask it in vain, and Postgres would refuse a storm of buyers.
        self._at_once = True

    async def __call__(self, batch: Groups) -> Groups:
        """Settle what can be settled; returns the groups that must go into the next batch."""
        metrics.BATCH_RECEIPTS.observe(len(batch))
        for group in batch:
            group.begin()
        batch.sort(key=lambda group: group.key)
        try:
            return _joined(await around_refused(batch, self._enter, self._poisoned))
        except DatabaseUnavailable as error:
            log.warning("batch_unfinished", receipts=len(batch), error=error.cause)
            for group in batch:
                group.settle_all(Retryable())
            return []

    async def _enter(self, batch: Groups) -> Groups:
        """Step 1, with step 3 where both go at once, and on with those that are left."""
        sold_out = self._stock.known_sold_out
        async with Admission(self._bouncer, self._count_key) as admission:
            if self._at_once and not sold_out:
                left, entries = await self._mint_new(batch, admission)
            else:
                left, entries = batch, await self._entered(batch, sold_out=sold_out)
            again = await self._go_on(left, entries, admission, sold_out=sold_out)
        self._at_once = admission.enough and 2 * admission.used > len(batch)
        if admission.unknown and self._stock.recount_due():
            await self._recount(self._drop)
        return again

    async def _entered(self, batch: Groups, *, sold_out: bool) -> dict[bytes, LedgerEntry]:
        with metrics.STEP_SECONDS("enter").time():
            return await self._ledger.enter(self._drop.id, _orders(batch), sold_out=sold_out)

    async def _mint_new(self, batch: Groups, admission: Admission) -> tuple[Groups, dict[bytes, LedgerEntry]]:
        """Steps 1 and 3 for what is new; the groups that are left, and what the ledger says of them."""
        admission.ask_beside(len(batch))
        try:
            with metrics.STEP_SECONDS("mint").time():
                done = await self._ledger.mint_new(self._drop.id, _orders(batch), self._stock.claimed_up_to)
        except (DataRejected, DatabaseUnavailable):
            # Then the steps one by one: whoever has paid is in the ledger whatever becomes of the claim, replays are
            # answered, and a receipt that is to blame is found.
            self._at_once = False
            return batch, await self._entered(batch, sold_out=False)
        await failpoints.reach("mint.fulfilled")
        left = self._settled(batch, done.memberships, done.last_sort_order)
        admission.use(len(done.memberships))
        return left, done.entries

    async def _go_on(
        self, batch: Groups, entries: dict[bytes, LedgerEntry], admission: Admission, *, sold_out: bool
    ) -> Groups:
        """Answer from the ledger; steps 2 to 4 for the others."""
        await failpoints.reach("mint.entered")
        sold_out = sold_out and self._stock.may_say_sold_out
        open_groups, again, closed = [], [], []
        for group in batch:
            entry = entries.get(group.key)
            if entry is None:
                open_groups.append(group)
                continue
            answer = _known_answer(entry, sold_out=sold_out)
            if answer is not None:
                group.settle(answer)
            elif entry.state is None:
                again.append(group)
            elif entry.late:
                closed.append(group)
            else:
                open_groups.append(group)
        if closed:
            await self._ledger.fail(_keys(closed), "DROP_CLOSED")
            again += closed  # The ledger's answer is read anew: another process may have fulfilled one.
        if not open_groups:
            return again
        return again + (await self._refuse(open_groups) if sold_out else await self._admit(open_groups, admission))

    async def _admit(self, groups: Groups, admission: Admission) -> Groups:
        """Steps 2 to 4: as many go on as the bouncer grants; a refusal is checked."""
        granted = await admission.granted(len(groups))
        if granted is None:
            granted = len(groups)
        claim = await self._claim(groups[:granted]) if granted else Claim()
        admission.use(claim.used)
        await admission.give_back()  # before anybody is refused; where the claim fails, it is when the batch is left
        again = await self._after(claim)
        return again + (await self._refuse(groups[granted:]) if granted < len(groups) else [])

    async def _claim(self, groups: Groups) -> Claim:
        """Step 3, whatever the data of single receipts is worth."""
        claims = await around_refused(groups, self._fulfil, self._poisoned)
        return Claim(
            sum(claim.used for claim in claims),
            _joined([claim.undecided for claim in claims]),
            any(claim.short for claim in claims),
        )

    async def _fulfil(self, groups: Groups) -> Claim:
        with metrics.STEP_SECONDS("fulfil").time():
            done = await self._ledger.fulfil(self._drop.id, _orders(groups), self._stock.claimed_up_to)
        await failpoints.reach("mint.fulfilled")
        undecided = self._settled(groups, done.memberships, done.last_sort_order)
        return Claim(len(done.memberships), undecided, done.short)

    def _settled(
        self, groups: Groups, memberships: dict[bytes, MintedMembership], last_sort_order: int | None
    ) -> Groups:
        """Answer those that were minted; the others."""
        if last_sort_order is not None:
            self._stock.claimed_up_to = last_sort_order
        undecided = []
        for group in groups:
            membership = memberships.get(group.key)
            if membership is None:
                undecided.append(group)
            else:
                group.settle(_fulfilled_answer(membership))
        return undecided

    async def _after(self, claim: Claim) -> Groups:
        """Where the claim came back short, look at the whole pool before refusing anybody."""
        if not claim.short:
            return claim.undecided
        if self._stock.claimed_up_to >= 0:
            self._stock.claimed_up_to = -1
            return claim.undecided
        return await self._refuse(claim.undecided)

    async def _refuse(self, groups: Groups) -> Groups:
        """SOLD_OUT to those for whom Postgres writes it down; the others wait, and the count is put right."""
        began_s = time.monotonic()
        with metrics.STEP_SECONDS("refuse").time():
            sold_out, refused = await self._ledger.refuse_if_sold_out(self._drop.id, _keys(groups))
        await failpoints.reach("mint.refused")
        self._stock.saw(sold_out=sold_out, at_s=began_s)
        if sold_out and not self._stock.may_say_sold_out:
            return groups
        for group in groups:
            if group.key in refused:
                group.settle_all(SoldOut())
        if not sold_out and self._stock.recount_due():
            await self._recount(self._drop)
        return [group for group in groups if group.key not in refused]

    async def _poisoned(self, group: ReceiptGroup, refusal: DataRejected) -> None:
        """A receipt whose data Postgres refuses fails alone: the first time its caller may retry, then it is final.

        The ledger keeps it as FAILED, so it is listed for a refund. Only one that could not even be entered is not.
        """
        metrics.RECEIPTS_POISONED.inc()
        log.error("receipt_poisoned", receipt_key=group.key.hex(), cause=refusal.cause)
        is_first_time = group.key in await self._ledger.fail([group.key], "POISONED")
        group.settle_all(Retryable() if is_first_time else InvalidReceipt(POISONED_MESSAGE))


def _joined(parts: Sequence[Groups]) -> Groups:
    return [group for part in parts for group in part]


def _orders(groups: Sequence[ReceiptGroup]) -> list[MintOrder]:
    return [group.first for group in groups]


def _keys(groups: Sequence[ReceiptGroup]) -> list[bytes]:
    return [group.key for group in groups]


def _known_answer(entry: LedgerEntry, *, sold_out: bool) -> Callable[[MintOrder, bool], MintAnswer | VyrisError] | None:
    """What the ledger alone can answer; None where the receipt may still mint, or must be looked at again."""
    if entry.state == "FULFILLED":
        return _replay(entry)
    if entry.state in {"REFUND_DUE", "REFUNDED"}:
        return _refunded(entry)
    if entry.early:
        return lambda _, __: DropNotOpen("This drop is not open yet", retryable=True)
    if entry.state == "FAILED" and entry.late:
        return lambda _, __: DropNotOpen("This drop is closed")
    if entry.state == "FAILED" and entry.reason == "SOLD_OUT" and sold_out:
        return lambda _, __: SoldOut()
    return None


def _replay(entry: LedgerEntry) -> Callable[[MintOrder, bool], MintAnswer | VyrisError]:
    membership = entry.membership
    if membership is None:
        raise AssertionError("a fulfilled receipt has a membership")

    def answer(order: MintOrder, _: bool) -> MintAnswer | VyrisError:
        if order.user_id != membership.user_id:
            return ReceiptUsed()
        if entry.revoked:
            return InvalidReceipt("The membership of this receipt was revoked")
        return membership, True

    return answer


def _refunded(entry: LedgerEntry) -> Callable[[MintOrder, bool], MintAnswer | VyrisError]:
    """Whose purchase it was hears of the refund; where it had minted, others hear what they always would."""
    owner = entry.membership.user_id if entry.membership is not None else None

    def answer(order: MintOrder, _: bool) -> MintAnswer | VyrisError:
        if owner is not None and order.user_id != owner:
            return ReceiptUsed()
        return InvalidReceipt("This receipt was refunded")

    return answer


def _fulfilled_answer(membership: MintedMembership) -> Callable[[MintOrder, bool], MintAnswer | VyrisError]:
    def answer(order: MintOrder, is_first: bool) -> MintAnswer | VyrisError:
        if order.user_id != membership.user_id:
            return ReceiptUsed()
        return membership, not is_first

    return answer
