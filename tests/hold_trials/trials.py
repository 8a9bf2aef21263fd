"""Crowds in a drop that sells by hold, seen from outside. An AssertionError says which promise broke."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from admin.drops import NewDrop, create_drop
from tests.acceptance.holds.doors import Answer, Ask
from tests.hold_trials.supply_sum import sum_watched

CALLERS: Final = 64
INSIST_PAUSE_S: Final = 0.05
INSIST_LIMIT_S: Final = 20.0
# Numbers are for sale again this long after time and grace, at the latest; GET may be a second older.
BACK_WITHIN_S: Final = 2.0
SHOWN_WITHIN_S: Final = 1.0
YEAR: Final = "2031"


@dataclass
class Night:
    """A drop that sells by hold, in a running suite."""

    tier: str
    drop_id: int
    capacity: int
    ask: Ask
    database_url: str
    database: asyncpg.Connection
    grace_s: float  # HOLD_GRACE_S of the suite

    async def take(self, user: str) -> Answer:
        """Ask for a hold until the answer is not RETRYABLE."""
        return await insist(self.ask, "TakeHold", tier=self.tier, year=YEAR, user_id=user)

    async def pay(self, user: str) -> Answer:
        """Mint with a receipt of this user until the answer is not RETRYABLE."""
        receipt = f"receipt of {user} in {self.tier}"
        return await insist(self.ask, "Mint", tier=self.tier, year=YEAR, user_id=user, receipt_data=receipt)

    async def state(self) -> dict[str, Any]:
        """The drop's state by GET."""
        return (await self.ask("GetDrop", tier=self.tier, year=YEAR)).body

    async def let_expire(self, earliest_s: float, latest_s: float) -> datetime:
        """End time and grace of each live hold `earliest_s` to `latest_s` from now; return when the last one ends."""
        return await self.database.fetchval(
            """WITH moved AS (
                 UPDATE holds SET expires_at = now() + make_interval(secs => $2 + random() * ($3::float8 - $2) - $4)
                 WHERE state = 'HELD' AND drop_id = $1 RETURNING expires_at)
               SELECT max(expires_at) + make_interval(secs => $4) FROM moved""",
            self.drop_id,
            earliest_s,
            latest_s,
            self.grace_s,
        )


async def open_night(
    ask: Ask, database_url: str, database: asyncpg.Connection, tier: str, capacity: int, *, grace_s: float, **new: Any
) -> Night:
    """Create the drop."""
    async with database.transaction():
        drop_id = await create_drop(database, NewDrop(tier, YEAR, capacity, sale="hold", **new))
    assert drop_id is not None
    return Night(tier, drop_id, capacity, ask, database_url, database, grace_s)


async def insist(ask: Ask, rpc: str, **fields: Any) -> Answer:
    """Ask until the answer is not RETRYABLE."""
    until_s = time.monotonic() + INSIST_LIMIT_S
    while True:
        answer = await ask(rpc, **fields)
        if answer.error != "RETRYABLE":
            return answer
        assert time.monotonic() < until_s, answer
        await asyncio.sleep(INSIST_PAUSE_S)


async def all_of(people: list[str], act: Callable[[str], Awaitable[Answer]], callers: int = CALLERS) -> list[Answer]:
    """Run `act` for each of these people, some at a time; return the answers."""
    waiting, answers = list(people), []

    async def work() -> None:
        while waiting:
            answers.append(await act(waiting.pop()))

    await asyncio.gather(*(work() for _ in range(callers)))
    return answers


def check_takers(answers: list[Answer], numbers: int) -> None:
    """As many have a hold as there were numbers; the others are asked to come back, and nobody gets SOLD_OUT."""
    counts = Counter((answer.status, answer.error) for answer in answers)
    assert counts == Counter({(201, ""): numbers, (409, "HELD_OUT"): len(answers) - numbers}), counts
    hurried = [answer for answer in answers if answer.error == "HELD_OUT" and int(answer.retry_after or 0) < 1]
    assert not hurried, hurried[:3]


async def last_numbers(night: Night, people: int) -> str:
    """Many people for a few numbers: each number is one hold, and nobody gets SOLD_OUT."""
    async with sum_watched(night.database_url, night.drop_id) as samples:
        began_s = time.monotonic()
        answers = await all_of([f"user-{n}" for n in range(people)], night.take)
        took_s = time.monotonic() - began_s
    check_takers(answers, night.capacity)
    return (
        f"{people} users for {night.capacity} numbers: {night.capacity} x 201, {people - night.capacity} x HELD_OUT "
        f"in {took_s:.1f} s, {len(samples)} samples of the sum"
    )


async def moment_of_the_lapse(night: Night, rng: random.Random) -> str:
    """All buyers pay around the moment when their holds lapse, while new users take the returned numbers."""
    payers = [f"payer-{n}" for n in range(night.capacity)]
    check_takers(await all_of(payers, night.take), night.capacity)
    # Holds lapse about once a second, so payments come before, at and after that moment.
    await night.let_expire(0.3, 1.3)
    paid_at_s = {user: time.monotonic() + rng.uniform(0.3, 2.5) for user in payers}
    is_over = asyncio.Event()

    async def pay(user: str) -> Answer:
        await asyncio.sleep(max(0.0, paid_at_s[user] - time.monotonic()))
        return await night.pay(user)

    async def take_what_comes_back() -> None:
        number = 0
        while not is_over.is_set():
            await all_of([f"newcomer-{number + n}" for n in range(16)], night.take, callers=16)
            number += 16

    async with sum_watched(night.database_url, night.drop_id) as samples:
        newcomers = asyncio.create_task(take_what_comes_back())
        answers = dict(zip(payers, await asyncio.gather(*map(pay, payers)), strict=True))
        is_over.set()
        await newcomers
    minted = {user for user, answer in answers.items() if answer.status == 201}
    late = {user for user, answer in answers.items() if (answer.status, answer.error) == (410, "HOLD_EXPIRED")}
    assert minted | late == set(payers), [
        answer for answer in answers.values() if answer.error not in {"", "HOLD_EXPIRED"}
    ]
    rows = await night.database.fetch(
        """SELECT r.user_id, r.state::text AS state, r.reason, m.id IS NOT NULL AS has_membership,
                  l.receipt_key IS NOT NULL AS in_line
           FROM receipt_ledger r
             LEFT JOIN memberships m USING (receipt_key) LEFT JOIN late_payments l USING (receipt_key)
           WHERE r.drop_id = $1""",
        night.drop_id,
    )
    assert {row["user_id"] for row in rows if row["has_membership"]} == minted
    assert all((row["state"], row["in_line"]) == ("FULFILLED", False) for row in rows if row["has_membership"]), (
        "minted and in line"
    )
    left = [row for row in rows if not row["has_membership"]]
    assert {row["user_id"] for row in left} == late
    assert len(rows) == len(payers)
    assert {(row["state"], row["reason"], row["in_line"]) for row in left} <= {
        ("FAILED", "HOLD_EXPIRED", True),
        ("FAILED", "HOLD_OFFERED", False),
    }
    assert minted, "nobody paid in time"
    assert late, "nobody paid too late"
    return f"{len(payers)} payments: {len(minted)} minted, {len(late)} HOLD_EXPIRED, {len(samples)} samples of the sum"


async def hoarders(night: Night, people: int, *, hurry: bool) -> str:
    """Hoarders take every number and do not pay; then every number is for sale again, and honest people get them.

    `hurry` ends their time and grace at once instead of waiting for both.
    """
    async with sum_watched(night.database_url, night.drop_id) as samples:
        check_takers(await all_of([f"hoarder-{n}" for n in range(people)], night.take), night.capacity)
        if hurry:
            over_at = await night.let_expire(0.3, 0.5)
        else:
            last = "SELECT max(expires_at) FROM holds WHERE drop_id = $1"
            over_at = await night.database.fetchval(last, night.drop_id) + timedelta(seconds=night.grace_s)
        limit = over_at + timedelta(seconds=BACK_WITHIN_S)
        free = "SELECT count(*) AS slots, clock_timestamp() AS at FROM slots WHERE drop_id = $1"
        while (row := await night.database.fetchrow(free, night.drop_id))["slots"] < night.capacity:
            assert row["at"] < limit, f"{row['slots']} of {night.capacity} are for sale at {row['at']}, due by {limit}"
            await asyncio.sleep(0.02)
        shown_until = row["at"] + timedelta(seconds=SHOWN_WITHIN_S + 0.3)  # and the time of the last poll
        while (await night.state())["available"] < night.capacity:
            assert datetime.now(UTC) < shown_until
            await asyncio.sleep(0.02)
        check_takers(await all_of([f"honest-{n}" for n in range(night.capacity)], night.take), night.capacity)
    back_s = (row["at"] - over_at).total_seconds()
    return (
        f"{people} hoarders, {night.capacity} numbers: all for sale again {back_s:.2f} s after time and grace, "
        f"{len(samples)} samples of the sum"
    )
