"""From the close to a checkpoint in force. Each step is one transaction; after a kill, another process does the next.

    1  close    ends the entries; waits for transactions that began before
    2  count    writes the root of the tree over all leaves, and the pages of leaves
    3  publish  signs and writes a checkpoint, with a round that it is early enough for
    4  show     another transaction sees the committed checkpoint; if that is too late for its round, the checkpoint is
                refused, and step 3 names a later round

Both the refused checkpoint and the new one are public.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import structlog

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.data.storage.locks import LockClass, try_lock
from services.draw.chains import Chain
from services.draw.maths import HASH_BYTES, Checkpoint, LeafTree, checkpoint_origin
from services.draw.signing import DrawSigner
from services.draw.statements import QUERIES
from services.draw.terms import Terms
from services.server import failpoints
from services.server.runtime.times import rfc3339

LEAVES_A_PAGE: Final = 1_000
# A statement that began before the close ends within its own time limit.
OLDER_SESSIONS_S: Final = 5.0
# Between the transaction that signs a checkpoint for a later round and the one that sees it.
MARGIN: Final = timedelta(seconds=2)

log = structlog.get_logger(__name__)


async def close_entries(database: Database, drop_id: int) -> bool:
    """Step 1; False if other transactions must end first. Raises DatabaseUnavailable."""
    closed = await database.fetchrow(QUERIES["close_entries"], drop_id, OLDER_SESSIONS_S)
    await failpoints.reach("draw.closed")
    return closed is not None


async def count_leaves(database: Database, drop_id: int) -> bool:
    """Step 2. Raises DatabaseUnavailable."""
    counted = await database.in_long_transaction(lambda connection: count_in(connection, drop_id))
    await failpoints.reach("draw.counted")
    return counted


async def count_in(connection: Connection, drop_id: int) -> bool:
    """Step 2 in the caller's transaction; False if there is nothing to count, or another process counts."""
    draw = await locked_draw(connection, drop_id)
    if draw is None or draw["closed_at"] is None or draw["root"] is not None:
        return False
    rows = await connection.fetch(QUERIES["read_leaves"], drop_id)
    tree = await asyncio.to_thread(LeafTree, [row["leaf_hash"] for row in rows if not row["is_withdrawn"]])
    withdrawn = sorted(row["leaf_hash"] for row in rows if row["is_withdrawn"])
    await connection.execute(QUERIES["write_leaf_pages"], drop_id, "tree", list(_pages(tree.leaves)))
    await connection.execute(QUERIES["write_leaf_pages"], drop_id, "withdrawn", list(_pages(withdrawn)))
    await connection.execute(QUERIES["commit_to_root"], drop_id, len(tree.leaves), len(withdrawn), tree.root)
    await failpoints.reach("draw.counting")
    log.info("draw_counted", drop_id=drop_id, entries=len(tree.leaves), withdrawn=len(withdrawn))
    return True


async def publish_root(database: Database, drop_id: int, chain: Chain, signer: DrawSigner) -> bool:
    """Step 3. Raises DatabaseUnavailable."""

    async def work(connection: Connection) -> bool:
        draw = await locked_draw(connection, drop_id)
        if draw is None or draw["root"] is None:
            return False
        before = await connection.fetch(QUERIES["read_checkpoints"], drop_id)
        if any(row["refused"] is None for row in before):
            return False
        terms = Terms.read(draw["terms"])
        number = round_in_force(
            chain, terms.members["round"], [row["round"] for row in before], draw["now"], draw["challenge_s"]
        )
        body = Checkpoint(
            checkpoint_origin(signer.name, draw["tier"], draw["year"]),
            draw["entries"],
            draw["root"],
            draw["terms_hash"],
            number,
            rfc3339(draw["now"]),
        ).body()
        await connection.execute(
            QUERIES["write_checkpoint"], drop_id, number, chain.round_at(number), signer.note(body)
        )
        await failpoints.reach("draw.publishing")
        log.info("draw_root_published", drop_id=drop_id, round=number, announced=terms.members["round"])
        return True

    published = await database.in_transaction(work)
    await failpoints.reach("draw.published")
    return published


async def show_checkpoint(database: Database, drop_id: int, challenge_s: int) -> bool:
    """Step 4. Raises DatabaseUnavailable."""
    row = await database.fetchrow(QUERIES["show_checkpoint"], drop_id, challenge_s)
    await failpoints.reach("draw.shown")
    if row is not None and row["refused"] is not None:
        log.error("draw_checkpoint_refused", drop_id=drop_id, round=row["round"], problem=row["refused"])
    return row is not None


def round_in_force(chain: Chain, announced: int, refused: Sequence[int], now: datetime, challenge_s: int) -> int:
    """The round for a root that is published at `now`: the announced one, or the next one if that is too close.

    `refused`: the rounds of earlier checkpoints, which were too late.
    """
    earliest = now + timedelta(seconds=challenge_s)
    if not refused and chain.round_at(announced) >= earliest:
        return announced
    return max(chain.first_round_from(earliest + MARGIN), announced, *(number + 1 for number in refused))


async def locked_draw(connection: Connection, drop_id: int) -> asyncpg.Record | None:
    """A draw's row, locked until the transaction ends; None if another process works on it, or it is cancelled."""
    if not await try_lock(connection, LockClass.MINT_DRAWS, drop_id):
        return None
    row = await connection.fetchrow(QUERIES["lock_draw"], drop_id)
    return None if row is None or row["cancelled_at"] is not None else row


def _pages(leaves: Sequence[bytes]) -> Iterator[bytes]:
    for start in range(0, len(leaves), LEAVES_A_PAGE):
        yield b"".join(leaves[start : start + LEAVES_A_PAGE])


def leaves_of(pages: Sequence[bytes]) -> list[bytes]:
    """The leaf hashes in pages, in their order."""
    return [page[n : n + HASH_BYTES] for page in pages for n in range(0, len(page), HASH_BYTES)]
