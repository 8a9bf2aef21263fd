"""Put numbers back: the line of late payers comes first."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple

from services.data.storage.connections import Connection
from services.data.storage.locks import LockClass, wait_for_lock
from services.supply.statements import QUERIES

# The tally row of changes outside a batch. Batches use all rows, so that they seldom wait for each other.
UNBATCHED_WRITER: Final = 0
# Bits of a slot's random sort_order, which is a bigint. In a drop of 10^7 numbers two are equal with a chance of 10^-5;
# the primary key refuses that.
RANDOM_BITS: Final = 62
# How long a number is held for a late payer, but not beyond the close.
LATE_HOLD_S: Final = 86_400


class Returned(NamedTuple):
    """How many of the numbers that came back went to the line, and how many to the sale."""

    offered: int  # held for late payers now
    for_sale: int


async def put_back(connection: Connection, drop_id: int, numbers: Sequence[int], *, were_held: bool) -> Returned:
    """Give numbers of a drop to the line, and the others to the sale, in the caller's transaction.

    Updates the tally. `were_held`: they come from holds, which have ended by now; otherwise from memberships.
    """
    if not numbers:
        return Returned(0, 0)
    await wait_for_lock(connection, LockClass.MINT_RETURNS, drop_id)
    served = await connection.fetch(QUERIES["hold_for_late_payers"], drop_id, list(numbers), LATE_HOLD_S)
    left = sorted(set(numbers) - {row["sequence_num"] for row in served})
    if left:
        orders = [secrets.randbits(RANDOM_BITS) for _ in left]
        await connection.execute(QUERIES["put_up_for_sale"], drop_id, left, orders)
    held = len(served) - (len(numbers) if were_held else 0)
    await add_to_tally(connection, drop_id, taken=-len(left), held=held)
    return Returned(len(served), len(left))


async def serve_line(connection: Connection, drop_id: int) -> Returned:
    """Give numbers that are for sale to the line, in the caller's transaction.

    A payment may have joined the line at the moment when a number went up for sale.
    """
    await wait_for_lock(connection, LockClass.MINT_RETURNS, drop_id)
    rows = await connection.fetch(QUERIES["take_for_line"], drop_id)
    if not rows:
        return Returned(0, 0)
    await add_to_tally(connection, drop_id, taken=len(rows), held=0)
    return await put_back(connection, drop_id, [row["sequence_num"] for row in rows], were_held=False)


async def add_to_tally(connection: Connection, drop_id: int, *, taken: int, held: int) -> None:
    """Add to a drop's taken numbers, and to those of them that are held, in the caller's transaction.

    Negative: fewer. For changes outside a batch; the statements of batches add to the tally themselves.
    """
    await connection.execute(QUERIES["add_to_tally"], drop_id, taken, held, UNBATCHED_WRITER)
