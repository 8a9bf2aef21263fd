"""The receipt ledger: the statements of the mint cycle.

States: PENDING, FULFILLED, FAILED, REFUND_DUE, REFUNDED (see schema). Only FAILED and PENDING receipts can mint.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

import asyncpg

from services.data.storage.columns import sparse
from services.data.storage.database import Database
from services.limits import PersonKey, key_columns
from services.mint.receipts.verified import VerifiedReceipt
from services.mint.statements import QUERIES


class EnrolledDevice(NamedTuple):
    """A device as stored: its name, its canonical JWK, and the JWK's thumbprint (RFC 7638)."""

    device_id: str
    public_key: str
    thumbprint: str


class MintOrder(NamedTuple):
    """A verified receipt that may become a membership.

    Each mint creates one, so it is a named tuple: a frozen dataclass takes four times as long to create.
    """

    receipt: VerifiedReceipt
    user_id: str
    email: str | None
    device: EnrolledDevice | None
    keys: tuple[PersonKey, ...] = ()  # the keys that count in this drop
    hold_id: UUID | None = None  # the hold that the receipt names


class MintedMembership(NamedTuple):
    """A membership as it was minted."""

    id: str
    drop_id: int
    sequence_num: int
    pass_serial: str
    user_id: str


class Outcome(StrEnum):
    """The outcome of a receipt in `mint_receipts`; `queries.sql` describes each."""

    MINTED = "MINTED"
    REPLAYED = "REPLAYED"
    REFUNDED = "REFUNDED"
    NOT_OPEN = "NOT_OPEN"
    CLOSED = "CLOSED"
    SOLD_OUT = "SOLD_OUT"
    WAITING = "WAITING"
    HELD_OUT = "HELD_OUT"
    HOLD_EXPIRED = "HOLD_EXPIRED"
    HOLD_REQUIRED = "HOLD_REQUIRED"
    HOLD_UNKNOWN = "HOLD_UNKNOWN"
    HOLD_OFFERED = "HOLD_OFFERED"
    LIMIT_REACHED = "LIMIT_REACHED"


# Outcomes that show that no slot is free.
NOTHING_FREE = frozenset({Outcome.SOLD_OUT, Outcome.HELD_OUT, Outcome.HOLD_EXPIRED})


class MintRow(NamedTuple):
    """One receipt's row of `mint_receipts`."""

    outcome: str  # an Outcome
    membership: MintedMembership | None
    is_revoked: bool
    sort_order: int | None  # the slot's, if this statement claimed one


class Ledger:
    """Statements over `receipt_ledger`, `slots` and `memberships`."""

    def __init__(self, database: Database, tally_writer: int) -> None:
        """`tally_writer` (0 to `TALLY_WRITERS` - 1) is this process's row among the tallies."""
        self._database = database
        self._tally_writer = tally_writer

    async def mint(
        self, drop_id: int, orders: Sequence[MintOrder], *, limit: int, beyond_sort_order: int, is_sold_out: bool
    ) -> dict[bytes, MintRow]:
        """Enter the receipts of `orders` (sorted by key) and mint at most `limit` of them; a row for each key.

        Slots are claimed beyond `beyond_sort_order`. `is_sold_out`: the drop was sold out a moment ago.
        Raises DatabaseUnavailable, DataRejected.
        """
        rows = await self._database.fetch(
            QUERIES["mint_receipts"],
            drop_id,
            *_columns(orders),
            limit,
            beyond_sort_order,
            is_sold_out,
            self._tally_writer,
        )
        return _by_key(rows)

    async def record(self, drop_id: int, orders: Sequence[MintOrder]) -> dict[bytes, MintRow]:
        """Enter the receipts of `orders` (sorted by key) as PENDING; a row for each key that was decided before.

        Raises DatabaseUnavailable, DataRejected.
        """
        rows = await self._database.fetch(
            QUERIES["record_receipts"],
            drop_id,
            [order.receipt.key for order in orders],
            [order.user_id for order in orders],
            *_purchases(orders),
        )
        return _by_key(rows)

    async def find_decided(self, keys: Sequence[bytes]) -> dict[bytes, MintRow]:
        """A row for each key of a receipt that was decided before. Raises DatabaseUnavailable."""
        return _by_key(await self._database.fetch(QUERIES["find_decided"], keys))

    async def minted_in(self, key: bytes) -> int | None:
        """The id of the drop in which a receipt has minted, even if it was revoked since; None if it has not."""
        row = await self._database.fetchrow(QUERIES["find_minted"], key)
        return row["drop_id"] if row else None

    async def fail(self, keys: Sequence[bytes], reason: str) -> set[bytes]:
        """Give PENDING receipts (sorted) a reason; returns the keys of those that were PENDING."""
        rows = await self._database.fetch(QUERIES["fail_receipts"], keys, reason)
        return {row["receipt_key"] for row in rows}


class CountedLedger(Ledger):
    """The ledger of drops that sell by hold or have limits."""

    async def mint_held(self, drop_id: int, orders: Sequence[MintOrder]) -> dict[bytes, MintRow]:
        """Mint those of `orders` (sorted by key) whose users have a hold; a row for each key that is decided.

        Raises DatabaseUnavailable, DataRejected.
        """
        rows = await self._database.fetch(
            QUERIES["mint_held_receipts"],
            drop_id,
            *_columns(orders),
            sparse([order.hold_id for order in orders]),
            self._tally_writer,
            # The hold counts its user.
            *key_columns([[key for key in order.keys if key.kind != "user"] for order in orders]),
        )
        return _by_key(rows)

    async def mint(
        self,
        drop_id: int,
        orders: Sequence[MintOrder],
        *,
        limit: int,
        beyond_sort_order: int,
        is_sold_out: bool,  # noqa: ARG002 - unused: a number may come back at any moment
    ) -> dict[bytes, MintRow]:
        """As `Ledger.mint`."""
        rows = await self._database.fetch(
            QUERIES["mint_counted_receipts"],
            drop_id,
            *_columns(orders),
            limit,
            beyond_sort_order,
            sparse([order.hold_id for order in orders]),
            self._tally_writer,
            *key_columns([order.keys for order in orders]),
        )
        return _by_key(rows)


def _columns(orders: Sequence[MintOrder]) -> tuple[Sequence[object], ...]:
    """The orders as columns, in the order of the statement's parameters."""
    devices = [order.device for order in orders]
    return (
        [order.receipt.key for order in orders],
        [order.user_id for order in orders],
        sparse([order.email for order in orders]),
        sparse([device.device_id if device else None for device in devices]),
        sparse([device.public_key if device else None for device in devices]),
        sparse([device.thumbprint if device else None for device in devices]),
        *_purchases(orders),
    )


def _purchases(orders: Sequence[MintOrder]) -> tuple[Sequence[object], ...]:
    """Kinds and transaction ids."""
    return [order.receipt.kind for order in orders], sparse([order.receipt.transaction_id for order in orders])


def _by_key(rows: Sequence[asyncpg.Record]) -> dict[bytes, MintRow]:
    minted = {}
    for key, outcome, membership_id, user_id, drop_id, sequence_num, pass_serial, revoked, sort_order in rows:
        membership = None
        if membership_id is not None:
            membership = MintedMembership(str(membership_id), drop_id, sequence_num, str(pass_serial), user_id)
        minted[key] = MintRow(outcome, membership, bool(revoked), sort_order)
    return minted
