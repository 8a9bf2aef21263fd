"""Create a drop, and make it larger or smaller.

Each function works in the caller's transaction; commands call `drop_desk`. Slots have random sort orders from the
system's cryptographic source, so nobody can guess which number a claim gets. They are written in that order, so the
claims of a batch are neighbours on the disk.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from admin.statements import QUERIES
from services.data.audit_log import Actor
from services.data.storage.connections import Connection
from services.mint.drops import CAPACITY_LIMIT, TALLY_WRITERS, Drop
from services.mint.receipts.verified import Environment
from services.supply import RANDOM_BITS, serve_line

__all__ = ["CAPACITY_LIMIT", "CannotResize", "Drop", "Environment", "NewDrop", "Progress", "create_drop", "resize_drop"]

SLOTS_A_CHUNK: Final = 50_000
SECRET_BYTES: Final = 32

Progress = Callable[[int], None]
"""Called with the number of slots that were written since the last call."""


@dataclass(frozen=True, slots=True)
class NewDrop:
    """A drop to be created."""

    tier: str
    year: str
    capacity: int
    environment: Environment = "production"
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    refund_frees_number: bool = False
    sale: str = "direct"  # direct, hold or draw
    limits: tuple[str, ...] = ()  # `user` is always among them where anything is counted
    hold_ttl_s: int = 600
    hold_extensions: int = 1
    hold_attempts: int = 2


class CannotResize(Exception):
    """The message says why."""


async def create_drop(connection: Connection, new: NewDrop, progress: Progress = lambda _: None) -> int | None:
    """Create a drop and its slots. Return its id, or None if it exists already."""
    limits = sorted({*new.limits, "user"}) if new.limits or new.sale != "direct" else []
    drop_id: int | None = await connection.fetchval(
        QUERIES["create_drop"],
        new.tier,
        new.year,
        new.environment,
        new.capacity,
        new.opens_at,
        new.closes_at,
        new.refund_frees_number,
        new.sale,
        limits,
        new.hold_ttl_s,
        new.hold_extensions,
        new.hold_attempts,
    )
    if drop_id is None:
        return None
    if limits:
        await connection.execute(QUERIES["create_secret"], drop_id, secrets.token_bytes(SECRET_BYTES))
    await connection.execute(QUERIES["create_tallies"], drop_id, TALLY_WRITERS)
    await _add_slots(connection, drop_id, range(1, new.capacity + 1), progress)
    return drop_id


async def resize_drop(connection: Connection, drop: Drop, capacity: int, actor: Actor) -> int:
    """Give a drop another capacity, and its new numbers to the line of late payers first.

    Return the capacity before. Raises CannotResize.
    """
    before: int = await connection.fetchval(QUERIES["lock_drop"], drop.id)
    if capacity > before:
        await _add_numbers(connection, drop.id, capacity, capacity - before)
    elif capacity < before:
        await _withdraw_numbers(connection, drop.id, before - capacity)
    await connection.execute(QUERIES["set_capacity"], drop.id, capacity)
    if capacity > before:
        await serve_line(connection, drop.id)
    await actor.note(
        connection,
        "drop.resize",
        f"{drop.tier} {drop.year}",
        drop_id=drop.id,
        environment=drop.environment,
        before=before,
        capacity=capacity,
    )
    return before


async def _add_numbers(connection: Connection, drop_id: int, capacity: int, more: int) -> None:
    """Add the lowest free numbers. At most the old capacity is in use, so there are enough. Raises CannotResize."""
    rows = await connection.fetch(QUERIES["free_numbers"], drop_id, capacity, more)
    if len(rows) < more:
        raise CannotResize(f"only {len(rows)} numbers up to {capacity} are free, and {more} would have to come")
    await _add_slots(connection, drop_id, (row["n"] for row in rows))


async def _withdraw_numbers(connection: Connection, drop_id: int, fewer: int) -> None:
    withdrawn = await connection.fetch(QUERIES["withdraw_slots"], drop_id, fewer)
    if len(withdrawn) < fewer:
        raise CannotResize(f"only {len(withdrawn)} of the drop's numbers are unclaimed, and {fewer} would have to go")


async def _add_slots(
    connection: Connection, drop_id: int, numbers: Iterable[int], progress: Progress = lambda _: None
) -> None:
    slots = sorted((secrets.randbits(RANDOM_BITS), number) for number in numbers)
    for start in range(0, len(slots), SLOTS_A_CHUNK):
        chunk = slots[start : start + SLOTS_A_CHUNK]
        await connection.copy_records_to_table(
            "slots",
            columns=("drop_id", "sort_order", "sequence_num"),
            records=((drop_id, sort_order, number) for sort_order, number in chunk),
        )
        progress(len(chunk))
