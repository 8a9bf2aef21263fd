"""Strangers judge a draw of the running suite: `verify.py`, a program in Go, the page, and the client library."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from stack.local import Stack
from tests.acceptance.draw.conftest import ENTRANTS, EnteredDraw
from tests.acceptance.holds.doors import Answer, grpc_door
from tests.browser.chromium import Browser
from tests.browser.conftest import browser, chromium  # noqa: F401
from tests.browser.test_draw_page import paste
from tests.browser.test_gateway_pages import wait_for
from tests.development_draw import beacon_of
from tests.peers import draw as judge
from vyris.client import Client, Result

CHECKS = ["terms", "leaves", "root", "checkpoint", "beacon", "seed", "offers", "cutoff"]


def address_of(stack: Stack, drawn: EnteredDraw) -> str:
    return f"{stack.gateway_url}/drops/{drawn.drop['tier']}/{drawn.drop['year']}/draw"


@pytest.fixture(scope="module")
def verify(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `verify.py`, as the gateway serves it, in an empty environment."""
    folder = tmp_path_factory.mktemp("stranger")
    script = folder / "verify.py"
    script.write_bytes(httpx.get(f"{stack.gateway_url}/draw/verify.py").content)

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-I",
            str(script),
            "--development-beacon",
            beacon_of(stack).public_key.hex(),
            *options,
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=folder)

    return run


def test_verify_accepts_the_draw_and_finds_an_entry(
    stack: Stack, drawn: EnteredDraw, verify: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    own = tmp_path / "answer.json"
    own.write_text(json.dumps(drawn.answers["u7"]))
    done = verify("--entry", str(own), "--user-id", "u7", address_of(stack, drawn))
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines[:-2]] == CHECKS
    assert f"{ENTRANTS:,} leaf hashes" in lines[1]
    assert lines[-2].startswith("ok  your entry  Your entry is one of the leaves and has rank")
    assert lines[-1].startswith("The draw holds")


def test_verify_checks_a_draw_that_waits_for_its_round(
    stack: Stack, committed: EnteredDraw, verify: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = verify(address_of(stack, committed))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()[:-1]] == CHECKS[:4]


def test_verify_refuses_the_promise_of_another_draw(
    stack: Stack,
    drawn: EnteredDraw,
    committed: EnteredDraw,
    verify: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    forged = tmp_path / "answer.json"
    forged.write_text(json.dumps({**drawn.answers["u1"], "promise": committed.answers["u1"]["promise"]}))
    done = verify("--entry", str(forged), "--user-id", "u1", address_of(stack, drawn))
    assert (done.returncode, "the promise is not the operator's" in done.stdout) == (1, True), done.stdout


def test_the_second_judge_accepts_the_draw(stack: Stack, drawn: EnteredDraw, tmp_path: Path) -> None:
    if reason := judge.missing():
        pytest.skip(reason)
    key = beacon_of(stack).public_key.hex()
    assert judge.verdict(judge.built(tmp_path), address_of(stack, drawn), beacon_key=key) == {"holds": True}


async def answers_of_the_service(stack: Stack, drawn: EnteredDraw) -> list[Answer]:
    at_once = asyncio.Semaphore(32)
    async with grpc_door(stack.gateway_grpc_target) as ask:

        async def answer_for(entry_id: str) -> Answer:
            async with at_once:
                return await ask("GetEntry", entry_id=entry_id)

        return await asyncio.gather(*(answer_for(answer["entry"]["id"]) for answer in drawn.answers.values()))


async def test_page_and_client_compute_what_the_service_answers_for_1_000_entries(
    stack: Stack,
    drawn: EnteredDraw,
    browser: Browser,  # noqa: F811
) -> None:
    """The page computes from salt and user id, the client from the leaf hash; neither asks for an entry."""
    answered = [answer.body["entry"] for answer in await answers_of_the_service(stack, drawn)]
    with Client(stack.gateway_grpc_target) as client:
        draw = client.get_draw(drawn.drop["tier"], drawn.drop["year"])
        expected = [Result.OFFERED if "offer" in entry else Result.WAITING for entry in answered]
        assert set(expected) == {Result.OFFERED, Result.WAITING}
        own = [client.get_entry(entry["id"]) for entry in answered[:3]]
        assert [(draw.key(entry), draw.result(entry)) for entry in own] == [
            (entry["key"], result) for entry, result in zip(answered[:3], expected[:3], strict=True)
        ]
    browser.open(address_of(stack, drawn))
    wait_for(browser, "document.body.dataset.state", lambda state: state == "DRAWN")
    shown = paste(browser, *((answer["entry"]["salt"], user) for user, answer in drawn.answers.items()))
    verdicts = {Result.OFFERED: "offered", Result.WAITING: "later"}
    assert shown == [
        (entry["leaf_hash"], entry["key"], verdicts[result]) for entry, result in zip(answered, expected, strict=True)
    ]
