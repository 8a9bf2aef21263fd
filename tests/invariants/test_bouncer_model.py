"""The bouncer against a pure model, under any change of its key."""

from __future__ import annotations

import asyncio
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from services.mint.bouncer import Bouncer, BouncerSettings, redis_client

KEY = "{drop:model:2030}"
COUNTS = st.integers(-20, 1_000)
GARBAGE = st.sampled_from([b"many", b"", b"1e9", b"4.5", b"007", b" 7", b"-", b"99999999999", b"-0"]) | st.binary(
    max_size=12
)


def whole(value: bytes) -> int | None:
    """Parse a count: a whole number as Redis writes it, of at most ten characters."""
    try:
        return int(value) if len(value) <= 10 and str(int(value)).encode() == value else None
    except ValueError:
        return None


class BouncerModel(RuleBasedStateMachine):
    """`count`: the expected value in Redis: a number, garbage, or nothing."""

    url = ""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        wanted = BouncerSettings(redis_url=self.url, redis_timeout_ms=2_000, redis_pause_ms=10)
        self.client: Any = redis_client(wanted)
        self.bouncer = Bouncer(self.client, wanted)
        self.count: bytes | None = None
        self.run(self.client.delete(KEY))

    def run(self, work: Any) -> Any:
        return self.runner.run(_await(work))

    def number(self) -> int | None:
        return None if self.count is None else whole(self.count)

    @rule(wanted=st.integers(1, 300))
    def take(self, wanted: int) -> None:
        granted = self.run(self.bouncer.take(KEY, wanted))
        left = self.number()
        assert granted == (None if left is None else min(wanted, max(left, 0)))
        if granted:
            assert left is not None
            self.count = b"%d" % (left - granted)

    @rule(unused=st.integers(0, 300))
    def give_back(self, unused: int) -> None:
        self.run(self.bouncer.give_back(KEY, unused))
        left = self.number()
        if left is not None:
            self.count = b"%d" % (left + unused)

    @rule(remaining=st.integers(0, 10_000_000))
    def recount(self, remaining: int) -> None:
        before = self.run(self.bouncer.write(KEY, remaining))
        left = self.number()
        assert before == left or left is None
        self.count = b"%d" % remaining

    @rule(count=COUNTS)
    def somebody_writes_a_count(self, count: int) -> None:
        self.count = b"%d" % count
        self.run(self.client.set(KEY, self.count))

    @rule(garbage=GARBAGE)
    def somebody_writes_garbage(self, garbage: bytes) -> None:
        self.count = garbage
        self.run(self.client.set(KEY, garbage))

    @rule()
    def redis_forgets(self) -> None:
        self.count = None
        self.run(self.client.flushall())

    @invariant()
    def redis_holds_what_the_model_says(self) -> None:
        if hasattr(self, "runner"):
            assert self.run(self.client.get(KEY)) == self.count

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.run(self.bouncer.close())
            self.runner.close()


async def _await(work: Any) -> Any:
    return await work


def test_the_bouncer_matches_its_model(redis_url: str) -> None:
    BouncerModel.url = redis_url
    run_state_machine_as_test(
        BouncerModel,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
