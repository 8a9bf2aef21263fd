"""Mistakes in the mint cycle, the bouncer and the batcher."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

from services.data.batching.batcher import Batcher, Group
from services.data.storage.database import Database
from services.data.storage.failures import DatabaseUnavailable
from services.data.storage.queries import statement_name
from services.mint import cycle
from services.mint.bouncer import Bouncer
from services.mint.cycle import MintCycle
from services.mint.ledger import Ledger, MintOrder, MintRow, Outcome
from services.mint.statements import QUERIES
from services.mint.stock import Stock
from tests.chaos.broken.statements import replace_pieces
from vyris.errors import InvalidReceipt, ReceiptUsed

COMMIT_LATER_S = 0.15


def no_row_lock() -> None:
    """Two processes fulfil one receipt."""
    replace_pieces(
        QUERIES,
        "mint_receipts",
        ("  ORDER BY receipt_key\n  FOR UPDATE SKIP LOCKED\n", "  ORDER BY receipt_key\n"),
    )
    mint = Ledger.mint

    async def record_then_mint(self: Ledger, drop_id: int, orders: Sequence[MintOrder], **asked: Any) -> Any:
        await self.record(drop_id, orders)
        return await mint(self, drop_id, orders, **asked)

    Ledger.mint = record_then_mint  # type: ignore[method-assign]


def missing_key_is_sold_out() -> None:
    """Redis decides."""
    take = Bouncer.take

    async def take_or_none(self: Bouncer, key: str, wanted: int) -> int | None:
        granted = await take(self, key, wanted)
        return 0 if granted is None else granted

    # The statement takes the batch's word for it, as where the drop was seen sold out.
    mint = Ledger.mint

    async def mint_or_believe(self: Ledger, drop_id: int, orders: Sequence[MintOrder], **asked: Any) -> Any:
        return await mint(self, drop_id, orders, **{**asked, "is_sold_out": asked["limit"] == 0})

    Bouncer.take = take_or_none  # type: ignore[method-assign]
    Ledger.mint = mint_or_believe  # type: ignore[method-assign]


def answer_before_commit() -> None:
    """Every fetch of the claim returns before its transaction is committed."""
    fetch = Database.fetch

    async def fetch_early(self: Database, query: str, *args: object) -> list[Any]:
        if statement_name(query) != "mint_receipts":
            return await fetch(self, query, *args)
        connection = await self._connections.take()
        transaction = connection.transaction()
        await transaction.start()
        rows = await connection.fetch(query, *args)

        async def commit() -> None:
            await asyncio.sleep(COMMIT_LATER_S)
            await transaction.commit()
            await self._connections.give_back(connection)

        late.append(asyncio.create_task(commit()))
        return list(rows)

    late: list[asyncio.Task[None]] = []
    Database.fetch = fetch_early  # type: ignore[method-assign]


def no_compensation_no_recount() -> None:
    """The count is written once and from then on only falls."""

    async def keep(self: Bouncer, key: str, unused: int) -> None:
        return None

    async def write_once(self: Bouncer, key: str, remaining: int) -> int | None:
        await self._call(lambda: self._client.set(key, remaining, nx=True))  # type: ignore[arg-type,return-value]
        return None

    Bouncer.give_back = keep  # type: ignore[method-assign]
    Bouncer.write = write_once  # type: ignore[method-assign]


def unknown_reported_as_failed() -> None:
    """Treat a missing answer as a refusal."""

    async def fail(self: MintCycle, batch: cycle.Groups, failure: DatabaseUnavailable) -> cycle.Groups:
        for group in batch:
            group.settle_all(InvalidReceipt("The mint failed"))
        return []

    MintCycle._record = fail  # type: ignore[method-assign]


def one_answer_for_all_copies() -> None:
    """A group is settled as if one caller had asked."""

    def settle(self: Group[Any, Any, Any], answer_for: Callable[[Any, bool], Any]) -> None:
        self.settle_all(answer_for(self.first, True))

    Group.settle = settle  # type: ignore[method-assign]


def used_before_the_winner_commits() -> None:
    """Treat the first user that waits for a receipt as its owner."""
    ask = Batcher.ask
    waiting: dict[Any, str] = {}

    async def ask_or_refuse(self: Batcher[Any, Any, Any], key: Any, request: Any, deadline_s: float) -> Any:
        owner = waiting.setdefault(key, request.user_id)
        return await ask(self, key, request, deadline_s) if owner == request.user_id else ReceiptUsed()

    Batcher.ask = ask_or_refuse  # type: ignore[method-assign]


def sold_out_for_ever() -> None:
    """Remember without a limit."""

    def remember(self: Stock, *, is_sold_out: bool, seen_at_s: float) -> None:
        if is_sold_out:
            self._sold_out_at_s = float("inf")

    Stock.remember = remember  # type: ignore[method-assign]


def new_serial_on_replay() -> None:
    """Each answer has a pass of its own."""
    make_answer = cycle.make_answer

    def answer_with_new_serial(row: MintRow, order: MintOrder, is_first: bool) -> Any:
        if row.outcome == Outcome.REPLAYED and row.membership is not None:
            row = row._replace(membership=row.membership._replace(pass_serial=str(uuid4())))
        return make_answer(row, order, is_first)

    cycle.make_answer = answer_with_new_serial


def tally_after_commit() -> None:
    """A second transaction keeps the count."""
    replace_pieces(QUERIES, "mint_receipts", ("AND writer = $13 AND EXISTS", "AND writer = $13 AND false AND EXISTS"))
    mint = Ledger.mint

    async def mint_then_count(self: Ledger, drop_id: int, orders: Sequence[MintOrder], **asked: Any) -> Any:
        rows = await mint(self, drop_id, orders, **asked)
        await asyncio.sleep(COMMIT_LATER_S)
        await self._database.execute(
            "UPDATE drop_tallies SET taken = taken + $2 WHERE drop_id = $1 AND writer = $3",
            drop_id,
            sum(row.outcome == Outcome.MINTED for row in rows.values()),
            self._tally_writer,
        )
        return rows

    Ledger.mint = mint_then_count  # type: ignore[method-assign]
