"""The buyers of one drop: who sends which receipt, how often, and which memberships an operator revokes."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field, replace
from uuid import UUID

from services.data.storage.connections import CONNECTION_FAILURES
from services.mint.drops import Drop
from services.mint.revocation import revoke
from tests.chaos.clients import Clients
from tests.chaos.cluster import Cluster
from tests.chaos.history import DONE, FULFILLED, HELD, UNKNOWN, History, Operation
from vyris.client import Device

WORKERS = 24
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 0.5
REVOCATION_LIMIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Purchase:
    """One receipt and how it is sent."""

    receipt: str
    users: tuple[str, ...]  # the buyer; others send the same receipt too
    copies: int  # how often the buyer sends it at once
    gives_up: bool  # whether the buyer gives up after an unknown outcome
    replays: bool  # whether it is sent again after its answer
    with_device: bool
    late_s: float = 0.0  # how long the buyer waits between hold and payment
    abandons: bool = False  # whether this buyer never pays


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a drop's sale, drawn from a seed."""

    capacity: int
    purchases: tuple[Purchase, ...]
    revocations: int
    sale: str = "direct"

    @classmethod
    def drawn(cls, rng: random.Random, capacity_limit: int, prefix: str, sale: str = "direct") -> Plan:
        """Demand is from two thirds to twice the capacity. `prefix` keeps receipts of two runs apart."""
        capacity = rng.randint(capacity_limit // 3, capacity_limit)
        demand = int(capacity * rng.choice((0.67, 0.95, 1.0, 1.1, 1.3, 2.0)))
        plan = cls(capacity, tuple(_purchase(rng, prefix, n) for n in range(demand)), rng.choice((0, 0, 20)), sale)
        return plan if sale == "direct" else plan.by_hold(random.Random(rng.random()))

    def by_hold(self, rng: random.Random) -> Plan:
        """The plan of a drop that sells by hold: some pay too late, some never."""
        purchases = (
            replace(purchase, late_s=rng.uniform(0.8, 2.0) if rng.random() < 0.2 else 0.0, abandons=rng.random() < 0.15)
            for purchase in self.purchases
        )
        return replace(self, purchases=tuple(purchases))


def _purchase(rng: random.Random, prefix: str, number: int) -> Purchase:
    buyer = f"buyer-{number}"
    return Purchase(
        receipt=f"{prefix}-receipt-{number}",
        users=(buyer, f"thief-{number}") if rng.random() < 0.05 else (buyer,),
        copies=rng.choice((2, 3, 5)) if rng.random() < 0.08 else 1,
        gives_up=rng.random() < 0.02,
        replays=rng.random() < 0.08,
        with_device=rng.random() < 0.1,
    )


@dataclass
class Workload:
    """Carries out a plan."""

    cluster: Cluster
    drop: Drop
    clients: Clients
    plan: Plan
    history: History
    rng: random.Random
    done_purchases: int = 0
    _next: int = 0
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _device: Device = field(default_factory=lambda: Device.generate("phone"))
    _paid: set[str] = field(default_factory=set)

    async def run(self, pace_s: float) -> None:
        """Send everything. `pace_s`: how long it should take at least, so that the faults meet a load."""
        began_s = time.monotonic()
        revoking = asyncio.create_task(self._revoke(pace_s))
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work(began_s, pace_s))
        revoking.cancel()
        await asyncio.gather(revoking, return_exceptions=True)

    def hurry(self) -> None:
        """End the pacing: the faults are over."""
        self._stop.set()

    async def settle(self, limit_s: float) -> list[str]:
        """Send receipts without a membership again until each has a final answer; return those without one."""
        until_s = time.monotonic() + limit_s
        minted = {o.subject for o in self.history.operations if o.kind == "mint" and o.outcome == FULFILLED}
        waiting = [p for p in self.plan.purchases if p.receipt not in minted and not p.gives_up]
        if self.plan.sale == "hold":  # the others have no receipt
            waiting = [purchase for purchase in waiting if purchase.receipt in self._paid]
        unsettled: list[str] = []

        async def work() -> None:
            while waiting:
                purchase = waiting.pop()
                final = await self._insist(purchase, purchase.users[0], until_s)
                if final.outcome == UNKNOWN:
                    unsettled.append(purchase.receipt)

        await asyncio.gather(*(work() for _ in range(WORKERS)))
        return unsettled

    async def _work(self, began_s: float, pace_s: float) -> None:
        while self._next < len(self.plan.purchases):
            number = self._next
            self._next += 1
            due_s = began_s + pace_s * number / len(self.plan.purchases)
            if not self._stop.is_set() and due_s > time.monotonic():
                await asyncio.sleep(due_s - time.monotonic())
            await self._buy(self.plan.purchases[number])
            self.done_purchases += 1

    async def _buy(self, purchase: Purchase) -> None:
        # A buyer whose calls all fail comes back later (settle).
        until_s = time.monotonic() + 3.0
        if self.plan.sale == "hold":
            if not await self._has_hold(purchase.users[0], until_s) or purchase.abandons:
                return
            await asyncio.sleep(purchase.late_s)
            self._paid.add(purchase.receipt)
            until_s = time.monotonic() + 3.0
        senders = [purchase.users[0]] * purchase.copies + list(purchase.users[1:])
        await asyncio.gather(*(self._insist(purchase, user, until_s) for user in senders))
        if purchase.replays:
            await self._insist(purchase, purchase.users[0], until_s)

    async def _has_hold(self, user: str, until_s: float) -> bool:
        """Ask for a hold, sometimes twice at once, until there is one, or until it is impossible."""
        while True:
            copies = 2 if self.rng.random() < 0.1 else 1
            ways = ["http" if self.rng.random() < 0.6 else "grpc" for _ in range(copies)]
            asked = await asyncio.gather(*(self.clients.hold(via, user) for via in ways))
            self.history.operations += asked
            if any(operation.outcome == HELD for operation in asked):
                return True
            if asked[0].outcome not in {UNKNOWN, "HELD_OUT"} or time.monotonic() > until_s:
                return False
            await asyncio.sleep(FIRST_PAUSE_S * self.rng.uniform(1, 4))

    async def _insist(self, purchase: Purchase, user: str, until_s: float) -> Operation:
        """Send until there is a final answer, or until the time limit."""
        pause_s = FIRST_PAUSE_S
        while True:
            via = "http" if self.rng.random() < 0.6 else "grpc"
            device = self._device if purchase.with_device else None
            operation = await self.clients.mint(via, purchase.receipt, user, device)
            self.history.operations.append(operation)
            if operation.outcome not in {UNKNOWN, "HELD_OUT"} or purchase.gives_up or time.monotonic() > until_s:
                return operation
            await asyncio.sleep(pause_s * self.rng.uniform(0.5, 1))
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _revoke(self, pace_s: float) -> None:
        """An operator revokes memberships and puts their numbers up for sale again."""
        for _ in range(self.plan.revocations):
            await asyncio.sleep(pace_s / (self.plan.revocations + 1))
            minted = {
                o.membership_id
                for o in self.history.operations
                if o.kind == "mint" and o.outcome == FULFILLED and o.user.startswith("buyer-")
            }
            revoked = {o.subject for o in self.history.operations if o.kind == "revoke"}
            if minted - revoked:
                await self._revoke_one(self.rng.choice(sorted(minted - revoked)))

    async def _revoke_one(self, membership_id: str) -> None:
        began_s = time.monotonic()
        outcome = UNKNOWN
        try:
            async with asyncio.timeout(REVOCATION_LIMIT_S), self.cluster.direct() as connection:
                async with connection.transaction():
                    await revoke(
                        connection,  # type: ignore[arg-type]
                        UUID(membership_id),
                        reason="chaos",
                        actor="chaos",
                        frees_number=True,
                    )
                outcome = DONE
        except CONNECTION_FAILURES:
            pass
        finally:  # Also if the load ended in the middle of it.
            self.history.operations.append(
                Operation(
                    kind="revoke",
                    subject=membership_id,
                    user="operator",
                    began_s=began_s,
                    ended_s=time.monotonic(),
                    outcome=outcome,
                )
            )
