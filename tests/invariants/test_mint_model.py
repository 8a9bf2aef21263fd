"""The mint cycle on real databases against a pure model: two processes, an operator, and a Redis with wrong counts."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import hypothesis.strategies as st
import pytest
import redis.asyncio as redis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from admin.drops import CannotResize
from services.mint import stock
from services.mint.cycle import MintAnswer
from services.mint.ledger import MintedMembership
from services.mint.reaper import Reaper
from services.mint.recount import Recounter
from services.mint.revocation import restore, revoke
from tests.stand_ins.mint_engine import Mint, mint_maker
from vyris.errors import InvalidReceipt, ReceiptUsed, SoldOut, VyrisError

RECEIPTS = st.sampled_from([f"receipt-{number}" for number in range(8)])
SOLD_OUT_AGE_S = 1.0
USERS = st.sampled_from(["ann", "bob"])
PROCESSES = st.sampled_from([0, 1])
_examples = itertools.count()


@dataclass
class Owned:
    """A receipt that was fulfilled."""

    membership: MintedMembership
    revoked: bool = False
    freed: bool = False


class MintModel(RuleBasedStateMachine):
    """`for_sale`: the numbers that nobody has. `owned`: the membership of each receipt."""

    database_url = ""
    redis_url = ""

    @initialize(capacity=st.integers(0, 5))
    def begin(self, capacity: int) -> None:
        self.runner = asyncio.Runner()
        self.for_sale = set(range(1, capacity + 1))
        self.owned: dict[str, Owned] = {}
        self.freed_at_s = float("-inf")
        self.prefix = f"example-{next(_examples)}-"
        self.runner.run(self._open(capacity))

    async def _open(self, capacity: int) -> None:
        self.exits = AsyncExitStack()
        make = await self.exits.enter_async_context(mint_maker(self.database_url, self.redis_url))
        first = await make(capacity)
        self.processes: list[Mint] = [first, await make(drop=first.drop)]
        self.client: redis.Redis = await self.exits.enter_async_context(redis.from_url(self.redis_url))

    def check(self, receipt: str, user: str, outcome: MintAnswer | BaseException) -> None:
        """Whether the model allows this answer now; update the model by it."""
        owned = self.owned.get(receipt)
        if owned is None and self.may_remember_sold_out() and isinstance(outcome, SoldOut):
            return
        if owned is None and self.for_sale:
            assert not isinstance(outcome, BaseException), repr(outcome)
            membership, replayed = outcome
            assert not replayed
            assert membership.user_id == user
            assert membership.sequence_num in self.for_sale
            self.for_sale.remove(membership.sequence_num)
            self.owned[receipt] = Owned(membership)
        elif owned is None:
            assert isinstance(outcome, SoldOut), repr(outcome)
        elif owned.membership.user_id != user:
            assert isinstance(outcome, ReceiptUsed), repr(outcome)
        elif owned.revoked:
            assert isinstance(outcome, InvalidReceipt), repr(outcome)
        else:
            assert outcome == (owned.membership, True)

    def may_remember_sold_out(self) -> bool:
        """Whether a process may still cache that the drop is sold out, although a number has come back."""
        return time.monotonic() - self.freed_at_s < SOLD_OUT_AGE_S

    async def _mint(self, process: int, receipt: str, user: str) -> MintAnswer | VyrisError:
        try:
            return await self.processes[process].mint(self.prefix + receipt, user)
        except VyrisError as refusal:
            return refusal

    @rule(process=PROCESSES, receipt=RECEIPTS, user=USERS)
    def mint(self, process: int, receipt: str, user: str) -> None:
        self.check(receipt, user, self.runner.run(self._mint(process, receipt, user)))

    @rule(calls=st.lists(st.tuples(PROCESSES, RECEIPTS, USERS), min_size=2, max_size=8))
    def mint_at_once(self, calls: list[tuple[int, str, str]]) -> None:
        """Some order of the calls, one after the other, explains all answers."""

        async def all_of_them() -> list[MintAnswer | VyrisError]:
            return await asyncio.gather(*(self._mint(*call) for call in calls))

        outcomes = self.runner.run(all_of_them())

        def place(index: int) -> int:
            outcome = outcomes[index]
            if isinstance(outcome, SoldOut) and self.may_remember_sold_out():
                return 0
            is_first_of_its_receipt = not isinstance(outcome, VyrisError) and not outcome[1]
            return 1 if is_first_of_its_receipt else 2

        for index in sorted(range(len(calls)), key=place):
            _, receipt, user = calls[index]
            self.check(receipt, user, outcomes[index])

    @rule(receipt=RECEIPTS, frees_number=st.booleans())
    def revoke(self, receipt: str, frees_number: bool) -> None:
        owned = self.owned.get(receipt)
        if owned is None:
            return
        done = self.in_transaction(
            lambda c: revoke(c, UUID(owned.membership.id), reason="model", actor="model", frees_number=frees_number)
        )
        assert done is not owned.revoked
        if done:
            owned.revoked, owned.freed = True, frees_number
            if frees_number:
                self.for_sale.add(owned.membership.sequence_num)
                self.freed_at_s = time.monotonic()

    @rule(receipt=RECEIPTS)
    def restore(self, receipt: str) -> None:
        owned = self.owned.get(receipt)
        if owned is None:
            return
        number = owned.membership.sequence_num
        possible = owned.revoked and (not owned.freed or number in self.for_sale)
        done = self.in_transaction(lambda c: restore(c, UUID(owned.membership.id), reason="model", actor="model"))
        assert done is possible
        if done:
            self.for_sale -= {number}
            owned.revoked = owned.freed = False

    @rule(by=st.integers(-3, 3))
    def resize(self, by: int) -> None:
        held = self.capacity() - len(self.for_sale)
        capacity = self.capacity() + by
        possible = capacity >= held and capacity >= 0
        if capacity < 0:
            return
        try:
            self.runner.run(self.processes[0].resize(capacity))
            assert possible
        except CannotResize:
            assert not possible
            capacity -= by
        self.for_sale = self.rows()
        assert len(self.for_sale) == capacity - held
        self.freed_at_s = time.monotonic()

    @rule(lie=st.sampled_from([None, "0", "1", "-4", "9999", "many"]))
    def redis_lies(self, lie: str | None) -> None:
        key = self.processes[0].count_key
        self.runner.run(_await(self.client.delete(key) if lie is None else self.client.set(key, lie)))

    @rule()
    def repairs_run(self) -> None:
        mint = self.processes[0]
        self.runner.run(Recounter(mint.database, mint.bouncer).recount(mint.drop))
        self.runner.run(mint.database.in_transaction(Reaper(mint.database, 0.0)._reap))

    def in_transaction(self, work: Any) -> Any:
        return self.runner.run(self.processes[0].database.in_transaction(work))

    def capacity(self) -> int:
        held = {o.membership.sequence_num for o in self.owned.values() if not o.freed}
        return len(self.for_sale) + len(held)

    def rows(self) -> set[int]:
        mint = self.processes[0]
        rows = self.runner.run(mint.database.fetch("SELECT sequence_num FROM slots WHERE drop_id = $1", mint.drop.id))
        return {row["sequence_num"] for row in rows}

    @invariant()
    def postgres_is_as_the_model(self) -> None:
        if not hasattr(self, "runner"):
            return
        assert self.rows() == self.for_sale
        assert self.runner.run(self.processes[0].slots()) == len(self.for_sale)

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.run(self.exits.aclose())
            self.runner.close()


async def _await(work: Any) -> Any:
    return await work


def test_the_mint_cycle_matches_its_model(database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Repair a wrong count at once: the recount would do it within a second, and the model has no time.
    monkeypatch.setattr(stock, "RECOUNT_EVERY_S", 0.02)
    MintModel.database_url, MintModel.redis_url = database_url, redis_url
    run_state_machine_as_test(
        MintModel,
        settings=settings(
            max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
