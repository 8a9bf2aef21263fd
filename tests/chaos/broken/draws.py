"""Mistakes in draws."""

from __future__ import annotations

import hashlib
import os
from datetime import datetime
from typing import Any

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.draw import drawing, maths
from services.draw.chains import Chain
from services.draw.development_beacon import DevelopmentBeacon
from services.draw.statements import QUERIES
from services.server import failpoints
from tests.chaos.broken.statements import replace_pieces
from tests.chaos.cluster import MINTS
from tests.chaos.faults import Scene


def believe_a_relay() -> None:
    """A relay answers with the signature of the round before, and nobody verifies it."""
    signature = DevelopmentBeacon.signature

    def of_the_round_before(self: DevelopmentBeacon, number: int, now: datetime) -> bytes | None:
        return signature(self, number - 1, now)

    DevelopmentBeacon.signature = of_the_round_before  # type: ignore[method-assign]
    Chain.verifies = lambda *_: True  # type: ignore[method-assign]


def enter_after_the_close() -> None:
    """The statement asks only whether entries have opened."""
    replace_pieces(QUERIES, "enter", (" AND now() < d.entries_close AND d.closed_at IS NULL", ""))


def draw_the_withdrawn() -> None:
    """Everyone who ever entered is in the tree."""
    replace_pieces(QUERIES, "read_leaves", ("withdrawn_at IS NOT NULL AS", "false AS"))
    replace_pieces(QUERIES, "read_entries", (" AND withdrawn_at IS NULL", ""))


def rank_by_leaf() -> None:
    """The leaf decides, and the service makes the leaves."""
    maths.order_key = lambda _, hashed_leaf: hashed_leaf


def leave_offered_numbers_free() -> None:
    """The next wave offers the same numbers again."""
    taken = "DELETE FROM slots WHERE drop_id = $1 AND sequence_num = ANY ($7::int[]) RETURNING sequence_num"
    kept = "SELECT sequence_num FROM slots WHERE drop_id = $1 AND sequence_num = ANY ($7::int[])"
    replace_pieces(QUERIES, "make_offers", (taken, kept))


def draw_in_two_transactions() -> None:
    """The first one makes the seed public, and a part of the seed is the process' own: a crash between draws again."""
    own = os.urandom(8)
    draw_seed, draw, locked_draw = maths.draw_seed, drawing.draw, drawing.locked_draw

    def own_seed(*parts: Any) -> bytes:
        return hashlib.sha256(draw_seed(*parts) + own).digest()

    async def show_and_draw(database: Database, drop_id: int) -> int:
        row = await database.fetchrow("SELECT * FROM draws WHERE drop_id = $1", drop_id)
        assert row is not None
        seed = own_seed(row["terms_hash"], row["root"], row["entries"], row["signature"])
        await database.execute(QUERIES["record_draw"], drop_id, seed)
        await failpoints.reach("draw.ranked")
        return await draw(database, drop_id)

    async def locked_as_undrawn(connection: Connection, drop_id: int) -> Any:
        row = await locked_draw(connection, drop_id)
        return None if row is None else {**row, "seed": row["seed"] if row["offered_rank"] else None}

    replace_pieces(QUERIES, "find_work", ("WHEN d.seed IS NULL THEN 'DRAW'", "WHEN d.offered_rank = 0 THEN 'DRAW'"))
    replace_pieces(QUERIES, "record_draw", (" AND seed IS NULL", ""))
    maths.draw_seed, drawing.draw, drawing.locked_draw = own_seed, show_and_draw, locked_as_undrawn


async def kill_at_the_draw(scene: Scene) -> None:
    """Every process that draws dies before it has finished."""
    for mint in MINTS:
        scene.cluster.set_failpoints(mint, {"draw.ranked": {"action": "kill"}})
    await scene.hold()
    for mint in MINTS:
        scene.cluster.set_failpoints(mint, {})
