"""The draw itself, once, and the waves of offers after it.

The draw is one transaction: it compares the entries with the root, writes the order, and gives holds to ranks 1 to
capacity. A wave is one transaction too: numbers that came back go to the next ranks. The lock on the draw's row lets
only one of them run at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import structlog

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.draw import maths, metrics
from services.draw.closing import leaves_of, locked_draw
from services.draw.statements import QUERIES
from services.server import failpoints
from services.supply import add_to_tally

# Far below a statement's time limit, 3 s: 10,000 offers with three keys each took half of it, and a wave that is
# cancelled is as large when it is tried again. More numbers take several waves, one right after the other.
OFFERS_A_WAVE: Final = 2_000

log = structlog.get_logger(__name__)


class EntriesChanged(Exception):
    """The entries are not those of the root. Nothing is drawn; the message says what differs."""


class Drawn(NamedTuple):
    """A draw's order."""

    seed: bytes
    ranks: list[tuple[UUID, bytes, str | None]]  # entry, leaf hash, user; from rank 1 on
    numbers: list[int]


async def draw(database: Database, drop_id: int) -> int:
    """Draw, once; the number of offers. Raises EntriesChanged, DatabaseUnavailable."""

    async def work(connection: Connection) -> int:
        row = await locked_draw(connection, drop_id)
        if row is None or row["seed"] is not None or row["signature"] is None:
            return 0
        pages = await connection.fetch(QUERIES["read_leaf_pages"], drop_id)
        entries = await connection.fetch(QUERIES["read_entries"], drop_id)
        drawn = await asyncio.to_thread(_order_entries, row, [page["leaves"] for page in pages], entries)
        await connection.copy_records_to_table(
            "draw_ranks",
            columns=("drop_id", "rank", "entry_id"),
            records=((drop_id, rank, entry) for rank, (entry, _, _) in enumerate(drawn.ranks, 1)),
        )
        await connection.execute(QUERIES["record_draw"], drop_id, drawn.seed)
        await failpoints.reach("draw.ranked")
        first = drawn.ranks[: row["capacity"]]
        made = await _offer(connection, row, drawn.seed, list(enumerate(first, 1)), drawn.numbers[: len(first)])
        await failpoints.reach("draw.drawing")
        return made

    made = await database.in_long_transaction(work)
    await failpoints.reach("draw.drawn")
    if made:
        metrics.OFFERS.inc(made)
        log.info("drawn", drop_id=drop_id, offers=made)
    return made


def _order_entries(row: asyncpg.Record, pages: Sequence[bytes], entries: Sequence[asyncpg.Record]) -> Drawn:
    """The order that follows from the root and the round. Raises EntriesChanged."""
    _compare(row, leaves_of(pages), entries)
    seed = maths.draw_seed(row["terms_hash"], row["root"], row["entries"], row["signature"])
    keyed = sorted((maths.order_key(seed, entry["leaf_hash"]), entry) for entry in entries)
    ranks = [(entry["id"], entry["leaf_hash"], entry["user_id"]) for _, entry in keyed]
    return Drawn(seed, ranks, maths.ordered_numbers(seed, range(1, row["capacity"] + 1)))


def _compare(row: asyncpg.Record, committed: list[bytes], entries: Sequence[asyncpg.Record]) -> None:
    """Raises EntriesChanged unless the entries match the root and its pages."""
    if maths.terms_hash_of(row["terms"]) != row["terms_hash"]:
        raise EntriesChanged("the terms are not those that were hashed")
    if len(committed) != row["entries"] or maths.LeafTree(committed).root != row["root"]:
        raise EntriesChanged("the published leaves do not lead to the root")
    if sorted(entry["leaf_hash"] for entry in entries) != committed:
        raise EntriesChanged("the entries' leaves are not the published ones")
    for entry in entries:
        user, salt = entry["user_id"], entry["salt"]
        if user is not None and entry["leaf_hash"] != maths.leaf_hash(maths.leaf(row["tier"], row["year"], salt, user)):
            raise EntriesChanged("an entry's user or salt is not that of its leaf")


async def offer_again(database: Database, drop_id: int) -> int:
    """Offer numbers that came back to the next ranks; the number of offers. Raises DatabaseUnavailable."""

    async def work(connection: Connection) -> int:
        row = await locked_draw(connection, drop_id)
        if row is None or row["seed"] is None or row["done_at"] is not None or row["is_over"]:
            return 0
        free = [one["sequence_num"] for one in await connection.fetch(QUERIES["free_numbers"], drop_id, OFFERS_A_WAVE)]
        numbers = maths.ordered_numbers(row["seed"], free)
        ranks = await _next_ranks(connection, drop_id, row["offered_rank"], len(numbers))
        made = await _offer(connection, row, row["seed"], ranks, numbers) if ranks else 0
        await failpoints.reach("draw.offering")
        return made

    made = await database.in_transaction(work)
    await failpoints.reach("draw.offered")
    if made:
        metrics.OFFERS.inc(made)
        log.info("offered_again", drop_id=drop_id, offers=made)
    return made


Ranked = tuple[int, tuple[UUID, bytes, str | None]]


async def _next_ranks(connection: Connection, drop_id: int, after: int, count: int) -> list[Ranked]:
    """The next ranks after `after`: `count` with a user, and the erased ones between them."""
    found: list[Ranked] = []
    missing = count
    while missing:
        rows = await connection.fetch(QUERIES["next_ranks"], drop_id, after, missing)
        if not rows:
            break
        found += [(row["rank"], (row["entry_id"], row["leaf_hash"], row["user_id"])) for row in rows]
        missing -= sum(row["user_id"] is not None for row in rows)
        after = rows[-1]["rank"]
    return found


async def _offer(
    connection: Connection, row: asyncpg.Record, seed: bytes, ranks: Sequence[Ranked], numbers: Sequence[int]
) -> int:
    """Make a wave of offers in the caller's transaction; the number of offers.

    In the first wave rank r has the r-th number, and the number of an erased entrant stays free. Later waves skip
    erased entrants, and their ranks use up no number.
    """
    drop_id, wave = row["drop_id"], row["wave"] + 1
    columns: list[tuple[Any, ...]] = []
    free = iter(numbers)
    for rank, (entry, hashed_leaf, user) in ranks:
        number = next(free) if user is not None or wave == 1 else None
        taken = number if user is not None else None
        columns.append((rank, entry, hashed_leaf, user, taken))
    last_key = maths.order_key(seed, ranks[-1][1][1]) if ranks else b""
    made, until = await _write_offers(connection, row, wave, columns)
    last_rank = ranks[-1][0] if ranks else 0
    await connection.execute(QUERIES["record_wave"], drop_id, wave, last_rank, last_key, until)
    return made


async def _write_offers(
    connection: Connection, row: asyncpg.Record, wave: int, columns: Sequence[tuple[Any, ...]]
) -> tuple[int, datetime | None]:
    drop_id = row["drop_id"]
    wanted = sum(number is not None for *_, number in columns)
    if not columns:
        return 0, None
    written = await connection.fetchrow(
        QUERIES["make_offers"], drop_id, wave, *map(list, zip(*columns, strict=True)), row["hold_ttl_s"]
    )
    if written is None or written["made"] != wanted:
        raise RuntimeError("a number that was to be offered is not free")
    await add_to_tally(connection, drop_id, taken=wanted, held=wanted)
    return wanted, written["until"]
