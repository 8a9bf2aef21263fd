"""The receipt ledger and the claim: the statements of the mint cycle.

States: PENDING, FULFILLED, FAILED, REFUND_DUE, REFUNDED (see schema). Only FAILED and
PENDING receipts can mint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import asyncpg

from services.mint.receipts.verified import VerifiedReceipt
from services.mint.statements import QUERIES
from services.storage.columns import sparse
from services.storage.database import Database


class EnrolledDevice(NamedTuple):
    """A device as stored: its name, its canonical JWK, and the thumbprint of that (RFC 7638)."""

    device_id: str
    public_key: str
    thumbprint: str


class MintOrder(NamedTuple):
    """A verified receipt that wants to become a membership.

    Like all that each mint makes anew it is a named tuple: a frozen dataclass takes four times as long to make.
    """

    receipt: VerifiedReceipt
    user_id: str
    email: str | None
    device: EnrolledDevice | None


class MintedMembership(NamedTuple):
    """A membership as it was minted."""

    id: str
    drop_id: int
    sequence_num: int
    pass_serial: str
    user_id: str


class LedgerEntry(NamedTuple):
    """What the ledger says of a receipt."""

    state: str | None  # None: committed elsewhere just now
    reason: str | None
    membership: MintedMembership | None
    revoked: bool
    early: bool
    late: bool


@dataclass(frozen=True, slots=True)
class NewMints:
    """What `mint_new` did."""

    memberships: dict[bytes, MintedMembership]
    entries: dict[bytes, LedgerEntry]  # of the others; what is new and PENDING is in neither
    last_sort_order: int | None


@dataclass(frozen=True, slots=True)
class Fulfilment:
    """What one claim statement did."""

    memberships: dict[bytes, MintedMembership]
    short: bool  # fewer slots were claimed than receipts were ready
    last_sort_order: int | None


class Ledger:
    """Statements over `receipt_ledger`, `slots` and `memberships`."""

    def __init__(self, database: Database, tally_writer: int) -> None:
        """`tally_writer` (0 to `TALLY_WRITERS` - 1) is this process's row among the tallies."""
        self._database = database
        self._tally_writer = tally_writer

    async def enter(self, drop_id: int, orders: Sequence[MintOrder], *, sold_out: bool) -> dict[bytes, LedgerEntry]:
        """Step 1: enter receipts (sorted by key) as PENDING, or as FAILED where that is known, and read the others.

        What is new and PENDING is not among the answers.
        """
        rows = await self._database.fetch(
            QUERIES["enter_receipts"],
            drop_id,
            [order.receipt.key for order in orders],
            [order.user_id for order in orders],
            *_purchases(orders),
            sold_out,
        )
        unseen = [row["receipt_key"] for row in rows if row["state"] is None]
        if unseen:
            rows += await self._database.fetch(QUERIES["read_receipts"], drop_id, unseen)
        return {row["receipt_key"]: _entry(row) for row in rows}

    async def mint_new(self, drop_id: int, orders: Sequence[MintOrder], beyond_sort_order: int) -> NewMints:
        """Steps 1 and 3 at once for those of the orders (sorted by key) that are new, and step 1 for the others."""
        rows = await self._database.fetch(
            QUERIES["mint_new_receipts"],
            drop_id,
            *_buyers(orders),
            beyond_sort_order,
            self._tally_writer,
            *_purchases(orders),
        )
        memberships, entries, last_sort_order = {}, {}, None
        for row in rows:
            key, _, _, _, _, membership_id, user_id, _, sequence_num, pass_serial, _, sort_order = row
            if sort_order is None:
                entries[key] = _entry(row)
                continue
            memberships[key] = MintedMembership(str(membership_id), drop_id, sequence_num, str(pass_serial), user_id)
            last_sort_order = sort_order if last_sort_order is None else max(last_sort_order, sort_order)
        return NewMints(memberships, entries, last_sort_order)

    async def fulfil(self, drop_id: int, orders: Sequence[MintOrder], beyond_sort_order: int) -> Fulfilment:
        """Step 3, for orders sorted by key."""
        rows = await self._database.fetch(
            QUERIES["fulfil_receipts"], drop_id, *_buyers(orders), beyond_sort_order, self._tally_writer
        )
        if not rows:
            return Fulfilment({}, short=True, last_sort_order=None)
        users = {order.receipt.key: order.user_id for order in orders}
        memberships = {
            key: MintedMembership(str(membership_id), drop_id, sequence_num, str(pass_serial), users[key])
            for key, sequence_num, membership_id, pass_serial, _, _ in rows
        }
        return Fulfilment(memberships, len(rows) < rows[0]["locked"], rows[0]["last_sort_order"])

    async def refuse_if_sold_out(self, drop_id: int, keys: Sequence[bytes]) -> tuple[bool, set[bytes]]:
        """Whether the drop holds no slot at all, and which of the (sorted) keys are marked so."""
        row = await self._database.fetchrow(QUERIES["refuse_if_sold_out"], drop_id, keys)
        if row is None:
            raise AssertionError("the statement returns one row")
        return row["sold_out"], set(row["receipt_keys"])

    async def minted_in(self, key: bytes) -> int | None:
        """The id of the drop where a receipt became a membership, be it revoked by now."""
        row = await self._database.fetchrow(QUERIES["find_minted"], key)
        return row["drop_id"] if row else None

    async def fail(self, keys: Sequence[bytes], reason: str) -> set[bytes]:
        """Give PENDING receipts (sorted) a reason; returns the keys of those that were PENDING."""
        rows = await self._database.fetch(QUERIES["fail_receipts"], keys, reason)
        return {row["receipt_key"] for row in rows}


def _buyers(orders: Sequence[MintOrder]) -> tuple[Sequence[object], ...]:
    """Keys, users, e-mail addresses, device ids, device keys, thumbprints: a column each."""
    devices = [order.device for order in orders]
    return (
        [order.receipt.key for order in orders],
        [order.user_id for order in orders],
        sparse([order.email for order in orders]),
        sparse([device.device_id if device else None for device in devices]),
        sparse([device.public_key if device else None for device in devices]),
        sparse([device.thumbprint if device else None for device in devices]),
    )


def _purchases(orders: Sequence[MintOrder]) -> tuple[Sequence[object], ...]:
    """Kinds and transaction ids."""
    return [order.receipt.kind for order in orders], sparse([order.receipt.transaction_id for order in orders])


def _entry(row: asyncpg.Record) -> LedgerEntry:
    _, early, late, state, reason, membership_id, user_id, drop_id, sequence_num, pass_serial, revoked, *_ = row
    membership = None
    if membership_id is not None:
        membership = MintedMembership(str(membership_id), drop_id, sequence_num, str(pass_serial), user_id)
    return LedgerEntry(state, reason, membership, bool(revoked), early, late)
