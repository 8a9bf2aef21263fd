"""A slice of the night that fits a test run: a small crowd at the suite, and the Go baseline's promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from stack.local import Stack
from tests.bench import arena, crowd, hold_drops, night, tools
from tests.bench.arena import Arena
from tests.bench.crowd import People
from tests.bench.drops import YEAR, BenchDrop
from tests.bench.rounds import new_run
from tests.bench.subject import GO, SUITE

NUMBERS, PEOPLE = 20, 200
TIER = "go-slice"

# The first build compiles pgx.
pytestmark = [pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def _skip_without_go() -> None:
    try:
        tools.find("go")
    except tools.MissingTool as missing:
        pytest.skip(str(missing))


@pytest.fixture
def go(databases: Stack, tmp_path: Path) -> Iterator[httpx.Client]:
    """The Go baseline with a drop of `NUMBERS`."""
    with ExitStack() as parts:
        subject = arena.go_baseline(databases, tmp_path, parts)
        Arena(databases, tmp_path, {GO: subject}).create_drop(BenchDrop(TIER, NUMBERS))
        yield parts.enter_context(httpx.Client(base_url=subject.url, trust_env=False))


def test_a_crowd_mints_each_number_once_and_everybody_gets_a_final_answer(stack: Stack, tmp_path: Path) -> None:
    suite = Arena(stack, tmp_path, {}).refreshed_suite()
    played = night.Night(Arena(stack, tmp_path, {SUITE: suite}), PEOPLE, NUMBERS, print)
    played.direct()
    assert played.checks.passed, played.checks.made
    seen = played.scenes[0].crowd
    assert (seen.ended("won"), seen.ended("lost")) == (NUMBERS, PEOPLE - NUMBERS)
    assert seen.answers["replay 201"].count > 0
    assert seen.answers["mint 410 SOLD_OUT"].count > 0


def test_people_who_meet_held_out_wait_as_the_answer_says_and_then_hear_that_all_is_sold(stack: Stack) -> None:
    hold_drops.create_hold_drop(stack.database_url, "night-slice", NUMBERS)
    seen = crowd.send(stack.gateway_url, "hold", "night-slice", new_run(), People(PEOPLE, pay_s=1.0))
    assert (seen.ended("won"), seen.ended("lost")) == (NUMBERS, PEOPLE - NUMBERS), seen
    assert seen.answers["hold 409 HELD_OUT"].count > 0
    # HELD_OUT says five seconds.
    assert seen.people["lost"].p99_s >= 5


def test_the_go_baseline_answers_by_the_contract_and_mints_a_receipt_once(go: httpx.Client) -> None:
    def mint(receipt: str, user: str = "buyer", tier: str = TIER) -> httpx.Response:
        return go.post("/mint", json={"receipt_data": receipt, "user_id": user, "tier": tier, "year": YEAR})

    first, again = mint("a"), mint("a")
    assert (first.status_code, first.json()["status"], first.json()["replayed"]) == (201, "FULFILLED", False)
    assert again.status_code == 201
    assert again.json() == {**first.json(), "replayed": True}
    refusals = [
        (mint("a", "another"), 409, "RECEIPT_USED"),
        (mint(""), 422, "INVALID_RECEIPT"),
        (mint("b", " "), 422, "INVALID_RECEIPT"),
        (mint("b", tier="NONE"), 422, "INVALID_REQUEST"),
        (mint("b", tier="none"), 404, "NOT_FOUND"),
        (go.post("/mint", content="{"), 422, "INVALID_REQUEST"),
        (go.post("/mint", content=b'{"receipt_data":"' + b"x" * 70_000), 413, "INVALID_REQUEST"),
    ]
    for answer, status, error in refusals:
        assert (answer.status_code, answer.json()["error"]) == (status, error)
        assert answer.json()["retryable"] is False

    with ThreadPoolExecutor(16) as callers:  # each receipt twice at once
        crowded = list(callers.map(mint, [f"crowd-{number // 2}" for number in range(2 * NUMBERS)]))
    assert Counter(answer.status_code for answer in crowded) == {201: 2 * (NUMBERS - 1), 410: 2}
    numbers = {answer.json()["membership"]["sequence_num"] for answer in [first, *crowded] if answer.status_code == 201}
    assert numbers == set(range(1, NUMBERS + 1))
    assert mint("c").json()["error"] == "SOLD_OUT"
    assert mint("a").json()["replayed"] is True
    assert go.get(f"/drops/{TIER}/{YEAR}").json()["state"] == "SOLD_OUT"
