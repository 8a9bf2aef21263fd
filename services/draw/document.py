"""The public document of a draw: a process reads it from Postgres at most twice a second for all callers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import OrderedDict
from contextvars import Context
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg
from google.protobuf.message import Message

from services.data.storage.database import Database
from services.draw.closing import leaves_of
from services.draw.maths import LeafTree
from services.draw.statements import QUERIES
from services.draw.terms import Terms
from services.mint.drops import Drop
from services.server.runtime.times import rfc3339
from vyris.draw.v1 import draw_pb2
from vyris.errors import NotFound

FRESH_S: Final = 0.5
TREES_LIMIT: Final = 4
# Steps, because a document that counts seconds would change every second, and no cache could keep it.
POLLS_S: Final = (3_600, 900, 300, 60, 30, 10, 5, 2, 1)
OFFERS_POLL_S: Final = 30


class Document(NamedTuple):
    """The document, and its entity tag."""

    message: draw_pb2.GetDrawResponse
    etag: str


class DrawWatch:
    """Reads draws for all callers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[int, tuple[float, Document]] = {}
        self._reading: dict[int, asyncio.Task[Document]] = {}
        self._trees: OrderedDict[int, asyncio.Task[LeafTree]] = OrderedDict()

    async def read(self, drop: Drop) -> Document:
        """The document, at most half a second old. Raises NotFound, Retryable."""
        seen = self._seen.get(drop.id)
        if seen is not None and time.monotonic() < seen[0]:
            return seen[1]
        reading = self._reading.get(drop.id)
        if reading is None:
            reading = self._reading[drop.id] = asyncio.create_task(self._read(drop.id), context=Context())
            reading.add_done_callback(lambda done: self._forget(drop.id, done))
        return await asyncio.shield(reading)

    async def tree(self, drop_id: int) -> LeafTree:
        """The tree of a draw whose root is published; the last few are kept. Raises Retryable."""
        building = self._trees.get(drop_id)
        if building is None or (building.done() and (building.cancelled() or building.exception() is not None)):
            building = self._trees[drop_id] = asyncio.create_task(self._build(drop_id), context=Context())
        self._trees.move_to_end(drop_id)
        while len(self._trees) > TREES_LIMIT:
            self._trees.popitem(last=False)
        return await asyncio.shield(building)

    async def _build(self, drop_id: int) -> LeafTree:
        pages = await self._database.fetch(QUERIES["read_leaf_pages"], drop_id)
        return await asyncio.to_thread(lambda: LeafTree(leaves_of([page["leaves"] for page in pages])))

    async def _read(self, drop_id: int) -> Document:
        fresh_until_s = time.monotonic() + FRESH_S
        row = await self._database.fetchrow(QUERIES["read_draw"], drop_id)
        if row is None:
            raise NotFound("This drop sells without a draw")
        message = build_document(row)
        answer = Document(message, etag_of(message))
        self._seen[drop_id] = (fresh_until_s, answer)
        return answer

    def _forget(self, drop_id: int, done: asyncio.Task[Document]) -> None:
        del self._reading[drop_id]
        if not done.cancelled():
            done.exception()  # or asyncio logs an error that no caller waits for


def etag_of(message: Message) -> str:
    """The entity tag of a public answer."""
    digest = hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()
    return f'"{digest[:32]}"'


def draw_state(row: asyncpg.Record) -> str:
    """ANNOUNCED, ENTERING, COMMITTED, DRAWN, DONE or CANCELLED."""
    if row["cancelled_at"] is not None:
        return "CANCELLED"
    if row["seed"] is not None:
        return "DONE" if row["done_at"] is not None or row["is_over"] else "DRAWN"
    if row["round"] is not None:
        return "COMMITTED"
    return "ENTERING" if row["now"] >= row["entries_open"] else "ANNOUNCED"


def build_document(row: asyncpg.Record) -> draw_pb2.GetDrawResponse:
    """The document for a row of `read_draw`."""
    terms = Terms.read(row["terms"])
    is_published = row["round"] is not None
    state = draw_state(row)
    number = row["round"] if is_published else terms.members["round"]
    return draw_pb2.GetDrawResponse(
        tier=row["tier"],
        year=row["year"],
        capacity=row["capacity"],
        state=state,
        entries_open=rfc3339(row["entries_open"]),
        entries_close=rfc3339(row["entries_close"]),
        closes_at=rfc3339(row["closes_at"]),
        terms=row["terms"],
        terms_hash=row["terms_hash"].hex(),
        beacon=draw_pb2.Beacon(
            chain_hash=terms.members["chain_hash"],
            public_key=terms.members["public_key"],
            round=number,
            round_at=rfc3339(terms.round_at(number)),
        ),
        entries=row["entries"] if is_published else 0,
        entries_root=row["root"].hex() if is_published else "",
        checkpoint=row["note"] or "",
        withdrawn=row["withdrawn"] if is_published else 0,
        refused=[draw_pb2.RefusedCheckpoint(**json.loads(one)) for one in row["refused"]],
        signature=row["signature"].hex() if row["seed"] is not None else "",
        seed=(row["seed"] or b"").hex(),
        cutoff=(row["cutoff"] or b"").hex(),
        offered_rank=row["offered_rank"],
        offer_until=rfc3339(row["offer_until"]),
        cancel_reason=row["cancel_reason"] or "",
        poll_after_s=_poll_after_s(state, row, terms.round_at(number)),
    )


def _poll_after_s(state: str, row: asyncpg.Record, round_at: datetime) -> int:
    """The pause until the next scheduled change, in seconds."""
    if state in {"DONE", "CANCELLED"}:
        return POLLS_S[0]
    if state == "DRAWN":
        return OFFERS_POLL_S
    changes_at = {"ANNOUNCED": row["entries_open"], "ENTERING": row["entries_close"], "COMMITTED": round_at}[state]
    left_s = (changes_at - row["now"]).total_seconds()
    return next((step_s for step_s in POLLS_S if step_s <= left_s), POLLS_S[-1])
