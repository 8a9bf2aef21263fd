"""Passes as phones get them: over HTTP, through Envoy, with the statuses that Apple prescribes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.wallet.inspection import judge_signature
from services.wallet.opened_pass import open_pass
from services.wallet.pass_tokens import PassTokens, development_key
from stack.local import Stack
from tests.commands import run_vyris
from tests.error_body import read_refusal

PASS_TYPE = "pass.app.vyris.membership"


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.gateway_url, timeout=15) as client:
        yield client


@pytest.fixture
def membership(http: httpx.Client) -> dict[str, Any]:
    """A fresh membership of user `holder`."""
    reply = http.post("/mint", json={"receipt_data": f"receipt-{uuid.uuid4()}", "user_id": "holder"})
    assert reply.status_code == 201, reply.text
    minted: dict[str, Any] = reply.json()["membership"]
    return minted


@pytest.fixture
def token_of(stack: Stack) -> Callable[[str], str]:
    """The token of a pass; the local stack's passes name no web service, as its address is not https."""
    tokens = PassTokens(development_key(stack.state.root / "keys"))
    return lambda serial: tokens.token(uuid.UUID(serial))


def vyris(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_vyris(stack.service_environment, *arguments)


def vyris_process(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As installed."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("vyris")), *arguments],
        env=dict(stack.service_environment),
        capture_output=True,
        text=True,
        check=False,
    )


def test_issue_pass_answers_the_signed_file(http: httpx.Client, stack: Stack, membership: dict[str, Any]) -> None:
    reply = http.post("/issue-pass", json={"membership_id": membership["id"], "user_id": "holder"})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/vnd.apple.pkpass"
    name = f"vyris-{membership['tier']}-{membership['sequence_num']}.pkpass"
    assert reply.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert "x-http-status" not in reply.headers
    opened = open_pass(reply.content)
    assert opened.document["serialNumber"] == membership["pass_serial"]
    assert opened.problems() == []
    if shutil.which("openssl"):
        assert judge_signature(opened, stack.state.root / "keys" / "pass_root.pem").holds


def test_errors_have_the_three_keys(http: httpx.Client, membership: dict[str, Any]) -> None:
    def issue(**body: object) -> tuple[int, str]:
        return read_refusal(http.post("/issue-pass", json=body))

    assert issue(membership_id=membership["id"], user_id="somebody else") == (401, "UNAUTHORIZED")
    assert issue(membership_id=str(uuid.uuid4()), user_id="holder") == (404, "NOT_FOUND")
    assert issue(membership_id="nonsense", user_id="holder") == (404, "NOT_FOUND")
    assert issue(membership_id=membership["id"]) == (422, "INVALID_REQUEST")
    google = http.post("/issue-pass/google", json={"membership_id": membership["id"], "user_id": "holder"})
    assert read_refusal(google) == (404, "NOT_FOUND")


def test_a_wallet_walks_the_whole_web_service(
    http: httpx.Client, stack: Stack, membership: dict[str, Any], token_of: Callable[[str], str]
) -> None:
    http.post("/issue-pass", json={"membership_id": membership["id"], "user_id": "holder"}).raise_for_status()
    serial = membership["pass_serial"]
    device = f"library-{uuid.uuid4()}"
    listing = f"/v1/devices/{device}/registrations/{PASS_TYPE}"
    registration, latest = f"{listing}/{serial}", f"/v1/passes/{PASS_TYPE}/{serial}"
    holder = {"Authorization": f"ApplePass {token_of(serial)}"}

    assert read_refusal(http.post(registration, json={"pushToken": "ab" * 32})) == (401, "UNAUTHORIZED")
    created = http.post(registration, json={"pushToken": "ab" * 32}, headers=holder)
    assert (created.status_code, created.content) == (201, b"")
    assert http.post(registration, json={"pushToken": "ab" * 32}, headers=holder).status_code == 200

    listed = http.get(listing)
    assert listed.status_code == 200
    assert listed.json()["serialNumbers"] == [serial]
    tag = listed.json()["lastUpdated"]
    nothing = http.get(listing, params={"passesUpdatedSince": tag})
    assert (nothing.status_code, nothing.content) == (204, b"")

    fetched = http.get(latest, headers=holder)
    assert fetched.status_code == 200
    assert fetched.headers["content-type"] == "application/vnd.apple.pkpass"
    since = {"If-Modified-Since": fetched.headers["last-modified"]}
    unchanged = http.get(latest, headers=holder | since)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert read_refusal(http.get(latest)) == (401, "UNAUTHORIZED")

    revoked = vyris_process(stack, "membership", "revoke", membership["id"], "--reason", "a test")
    assert revoked.returncode == 0, revoked.stderr
    deadline = time.monotonic() + 10
    while http.get(listing, params={"passesUpdatedSince": tag}).status_code == 204:
        assert time.monotonic() < deadline, "the pass was not updated"
        time.sleep(0.1)
    newer = http.get(latest, headers=holder | since)
    assert newer.status_code == 200
    assert open_pass(newer.content).document["voided"] is True
    refusal = http.post("/issue-pass", json={"membership_id": membership["id"], "user_id": "holder"})
    assert read_refusal(refusal) == (401, "UNAUTHORIZED")

    assert http.post("/v1/log", json={"logs": ["something went wrong"]}).status_code == 200
    gone = http.delete(registration, headers=holder)
    assert (gone.status_code, gone.content) == (200, b"")
    assert http.get(listing).status_code == 204


def test_the_command_line_builds_inspects_and_draws_a_pass(
    stack: Stack, membership: dict[str, Any], tmp_path: Path
) -> None:
    card = tmp_path / "card.pkpass"
    built = vyris(stack, "pass", "build", membership["id"], "-o", str(card))
    assert built.returncode == 0, built.stderr
    inspected = vyris(stack, "pass", "inspect", str(card))
    assert inspected.returncode == 0, inspected.stdout + inspected.stderr
    assert membership["pass_serial"] in inspected.stdout
    for name in ("card.png", "card.html"):
        assert vyris(stack, "pass", "preview", str(card), "-o", str(tmp_path / name)).returncode == 0
        assert (tmp_path / name).stat().st_size > 50_000
    broken = bytearray(card.read_bytes())
    broken[len(broken) // 4] ^= 1
    card.write_bytes(broken)
    assert vyris(stack, "pass", "inspect", str(card)).returncode == 1
    unknown = vyris(stack, "pass", "build", str(uuid.uuid4()))
    assert unknown.returncode == 1
    assert "There is no such membership" in unknown.stderr
    assert "Traceback" not in unknown.stderr
