"""A newcomer moves a membership with curl and the `vyris` command alone, as the README shows."""

from __future__ import annotations

import json
import re
import subprocess
import uuid

import pytest

from stack.local import Stack
from tests.acceptance.reforge.journey import Journey
from tests.commands import run_vyris


@pytest.fixture
def journey(stack: Stack) -> Journey:
    return Journey(stack)


def vyris(journey: Journey, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"VYRIS_STATE_DIR": str(journey.stack.state.root), "PUBLIC_BASE_URL": journey.base}
    return run_vyris(environment, *arguments, stdin=stdin)


def run_command(journey: Journey, *arguments: str, stdin: str = "") -> str:
    done = vyris(journey, *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


def mint_by(journey: Journey, device: str, mint: dict[str, object]) -> str:
    """The membership that a mint makes, proven by the `vyris` command."""
    body = json.dumps(mint)
    headers = {"DPoP": run_command(journey, "dev", "proof", device, "POST", "/mint", body)}
    answer = journey.http.post("/mint", content=body, headers={**headers, "content-type": "application/json"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["membership"]["id"])


def test_a_device_is_made_proves_itself_and_hands_over(journey: Journey) -> None:
    old, new = f"old-{uuid.uuid4().hex[:6]}", f"new-{uuid.uuid4().hex[:6]}"
    device = {"device_id": old, "public_key": run_command(journey, "dev", "device-key", old)}
    mint = {"receipt_data": str(uuid.uuid4()), "user_id": journey.user_id, "email": journey.email, "device": device}
    member = mint_by(journey, old, mint)
    body = json.dumps(
        {
            "membership_id": member,
            "user_id": journey.user_id,
            "old_device_id": old,
            "new_device_id": new,
            "new_public_key": json.loads(run_command(journey, "dev", "device-key", new, "--form", "json")),
        }
    )
    proof = run_command(journey, "dev", "proof", old, "POST", "/devices/reforge/init", "-", stdin=body)
    headers = {"DPoP": proof, "content-type": "application/json"}
    begun = journey.http.post("/devices/reforge/init", content=body, headers=headers)
    assert begun.status_code == 202, begun.text
    replayed = journey.http.post("/devices/reforge/init", content=body, headers=headers)
    assert replayed.status_code == 401
    journey.link("confirm")
    mail = run_command(journey, "dev", "mail", "--to", journey.email)
    assert "Subject: Move your membership to a new device?" in mail
    token = run_command(journey, "dev", "mail", "--to", journey.email, "--token")
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)
    assert journey.http.post("/devices/reforge/confirm", json={"token": token}).status_code == 200


def test_a_device_asks_for_another_address(journey: Journey) -> None:
    name = f"phone-{uuid.uuid4().hex[:6]}"
    device = {"device_id": name, "public_key": run_command(journey, "dev", "device-key", name, "--form", "jwk")}
    mint = {"receipt_data": str(uuid.uuid4()), "user_id": journey.user_id, "email": journey.email, "device": device}
    member = mint_by(journey, name, mint)
    path, body = f"/memberships/{member}/email", json.dumps({"user_id": journey.user_id, "email": "new@mail.example"})
    proof = run_command(journey, "dev", "proof", name, "POST", path, body)
    changed = journey.http.post(path, content=body, headers={"DPoP": proof, "content-type": "application/json"})
    assert changed.status_code == 202, changed.text
    assert changed.json()["status"] == "PENDING"


def test_the_operator_changes_an_address_and_the_old_one_can_stop_it(journey: Journey) -> None:
    journey.mint(None)
    change = ("set-email", journey.membership_id, "other@mail.example", "--reason", "by phone")
    done = vyris(journey, "membership", *change)
    assert done.returncode == 0, done.stderr
    assert "takes effect at" in done.stderr
    assert "Keep your e-mail address?" in journey.http.get(journey.link("refuse")).text
    posted = journey.http.post("/reforge/refuse", data={"token": journey.token("refuse")})
    assert "Refused" in posted.text
    same = vyris(journey, "membership", "set-email", journey.membership_id, journey.email, "--reason", "by phone")
    assert same.returncode == 1
    assert "already" in same.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("dev", "proof", "nobody", "POST", "/issue-pass", "{}"), "There is no device nobody"),
        (("dev", "proof", "../x", "POST", "/issue-pass", "{}"), "A device's name is"),
        (("dev", "proof", "nobody", "POST", "/nowhere", "{}"), "There is no call POST /nowhere"),
        (("dev", "proof", "nobody", "POST", "/issue-pass", "{"), "The body is not a JSON IssuePassRequest"),
        (("dev", "mail", "--to", "nobody@nowhere.example"), "There is no mail"),
        (("membership", "set-email", str(uuid.UUID(int=0)), "a@b.example", "--reason", "x"), "no such membership"),
        (("membership", "set-email", str(uuid.UUID(int=0)), "nonsense", "--reason", "x"), "e-mail address"),
    ],
)
def test_a_mistake_is_reported_in_a_sentence(journey: Journey, arguments: tuple[str, ...], sentence: str) -> None:
    done = vyris(journey, *arguments)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
