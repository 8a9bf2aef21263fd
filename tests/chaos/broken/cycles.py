"""Mistakes in the mint cycle, the bouncer and the batcher."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from services.batching.batcher import Batcher, Group
from services.mint import cycle
from services.mint.bouncer import Bouncer
from services.mint.cycle import Claim, MintCycle
from services.mint.ledger import Ledger
from services.mint.stock import Stock
from services.storage.database import Database
from services.storage.failures import DatabaseUnavailable
from tests.chaos.broken.statements import replace_in
from vyris.errors import InvalidReceipt, ReceiptUsed

COMMIT_LATER_S = 0.15


def missing_key_is_sold_out() -> None:
    """Redis decides."""
    take = Bouncer.take

    async def take_or_none(self: Bouncer, key: str, wanted: int) -> int | None:
        granted = await take(self, key, wanted)
        return 0 if granted is None else granted

    async def believe(self: Ledger, drop_id: int, keys: Sequence[bytes]) -> tuple[bool, set[bytes]]:
        await self.fail(keys, "SOLD_OUT")
        return True, set(keys)

    Bouncer.take = take_or_none  # type: ignore[method-assign]
    Ledger.refuse_if_sold_out = believe  # type: ignore[method-assign]


def answer_before_commit() -> None:
    """Every fetch of the claim returns before its transaction is committed."""
    fetch = Database.fetch

    async def fetch_early(self: Database, query: str, *args: object) -> list[Any]:
        if "DELETE FROM slots" not in query:
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
        await self._guarded(lambda: self._client.set(key, remaining, nx=True))  # type: ignore[arg-type,return-value]
        return None

    Bouncer.give_back = keep  # type: ignore[method-assign]
    Bouncer.write = write_once  # type: ignore[method-assign]


def unknown_reported_as_failed() -> None:
    """No answer is taken for a no."""
    claim, mint_new = MintCycle._claim, MintCycle._mint_new

    def fail(groups: cycle.Groups) -> None:
        for group in groups:
            group.settle_all(InvalidReceipt("The mint failed"))

    async def claim_or_fail(self: MintCycle, groups: cycle.Groups) -> Claim:
        try:
            return await claim(self, groups)
        except DatabaseUnavailable:
            fail(groups)
            return Claim()

    async def mint_new_or_fail(self: MintCycle, batch: cycle.Groups, admission: Any) -> Any:
        try:
            return await mint_new(self, batch, admission)
        except DatabaseUnavailable:
            fail(batch)
            return [], {}

    MintCycle._claim = claim_or_fail  # type: ignore[method-assign]
    MintCycle._mint_new = mint_new_or_fail  # type: ignore[method-assign]


def one_key_twice_in_a_batch() -> None:
    """No grouping by key."""

    async def submit(self: Batcher[Any, Any, Any], key: Any, request: Any, deadline_s: float) -> Any:
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        group: Group[Any, Any, Any] = Group(key)
        group.add(request, answer)
        self._waiting[object()] = group
        self._arrival.set()
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        async with asyncio.timeout(deadline_s):
            return await answer

    Batcher.submit = submit  # type: ignore[method-assign]


def used_before_the_winner_commits() -> None:
    """Whoever waits for a receipt is taken for its owner."""
    submit = Batcher.submit
    waiting: dict[Any, str] = {}

    async def submit_or_refuse(self: Batcher[Any, Any, Any], key: Any, request: Any, deadline_s: float) -> Any:
        owner = waiting.setdefault(key, request.user_id)
        if owner != request.user_id:
            raise ReceiptUsed
        return await submit(self, key, request, deadline_s)

    Batcher.submit = submit_or_refuse  # type: ignore[method-assign]


def sold_out_for_ever() -> None:
    """A memory without a bound."""

    def saw(self: Stock, *, sold_out: bool, at_s: float) -> None:
        if sold_out:
            self._sold_out_at_s = float("inf")

    async def believe(self: MintCycle, groups: cycle.Groups) -> cycle.Groups:
        if not self._stock.known_sold_out:
            return await refuse(self, groups)
        await self._ledger.fail([group.key for group in groups], "SOLD_OUT")
        for group in groups:
            group.settle_all(cycle.SoldOut())
        return []

    refuse = MintCycle._refuse
    Stock.saw = saw  # type: ignore[method-assign]
    MintCycle._refuse = believe  # type: ignore[method-assign]


def new_serial_on_replay() -> None:
    """The pass is made anew for every answer."""
    replay = cycle._replay

    def replay_anew(entry: Any) -> Any:
        membership = entry.membership._replace(pass_serial=str(uuid4()))
        return replay(entry._replace(membership=membership))

    cycle._replay = replay_anew


def tally_after_commit() -> None:
    """A second transaction keeps the count."""
    for statement in ("fulfil_receipts", "mint_new_receipts"):
        replace_in(statement, ("AND writer = $9 AND EXISTS", "AND writer = $9 AND false AND EXISTS"))

    def counted_later(mint: Any) -> Any:
        async def mint_then_count(self: Ledger, drop_id: int, *args: Any) -> Any:
            done = await mint(self, drop_id, *args)
            await asyncio.sleep(COMMIT_LATER_S)
            await self._database.execute(
                "UPDATE drop_tallies SET taken = taken + $2 WHERE drop_id = $1 AND writer = $3",
                drop_id,
                len(done.memberships),
                self._tally_writer,
            )
            return done

        return mint_then_count

    Ledger.fulfil = counted_later(Ledger.fulfil)  # type: ignore[method-assign]
    Ledger.mint_new = counted_later(Ledger.mint_new)  # type: ignore[method-assign]
