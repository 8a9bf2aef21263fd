"""The whole journey through the gateway, and the page behind the link."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from stack.local import Stack
from tests.acceptance.reforge.journey import Journey, new_device
from tests.error_body import read_refusal
from tests.stand_ins.reforge_service import text_of

FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def journey(stack: Stack) -> Journey:
    return Journey(stack)


def test_a_membership_moves_from_device_to_device(journey: Journey) -> None:
    old, new = new_device("device-A"), new_device("device-B")
    journey.mint(old)
    assert journey.issue_pass(old).status_code == 200
    begun = journey.init(new, old)
    assert begun.status_code == 202, begun.text
    assert set(begun.json()) == {"status", "reforge_id", "expires_at"}
    token = journey.token("confirm")
    assert token not in begun.text
    confirmed = journey.http.post("/devices/reforge/confirm", json={"token": token})
    assert confirmed.status_code == 200
    assert confirmed.json() == {
        "status": "CONFIRMED",
        "membership_id": journey.membership_id,
        "new_device_id": "device-B",
    }
    assert journey.issue_pass(new).status_code == 200
    assert read_refusal(journey.issue_pass(old)) == (401, "UNAUTHORIZED")
    assert read_refusal(journey.issue_pass(None)) == (401, "UNAUTHORIZED")
    again = journey.http.post("/devices/reforge/confirm", json={"token": token})
    assert read_refusal(again) == (410, "EXPIRED")
    status = journey.http.get(f"/devices/reforge/{begun.json()['reforge_id']}")
    assert status.json()["status"] == "CONFIRMED"


def test_the_mail_names_the_address_of_the_caller(journey: Journey) -> None:
    """Also behind a load balancer (`pytest --through nginx`)."""
    journey.mint(None)
    transport = httpx.HTTPTransport(local_address="127.0.0.9")
    journey.http = httpx.Client(base_url=journey.stack.gateway_url, transport=transport, timeout=15)
    assert journey.init(new_device("device-B"), None).status_code == 202
    journey.link("confirm")
    assert "127.0.0.9" in text_of(journey.mails()[0])


def test_a_proof_through_the_gateway_makes_the_request_a_proven_one(journey: Journey) -> None:
    old = new_device("device-A")
    journey.mint(old)
    assert journey.init(new_device("device-B"), old, proven=True).status_code == 202
    journey.link("confirm")
    assert "Proven by    the old device" in text_of(journey.mails()[0])


def test_the_documented_codes_of_both_calls(journey: Journey) -> None:
    journey.mint(None)
    new = new_device("device-B")
    assert read_refusal(journey.init(new, new_device("unknown"))) == (404, "NOT_FOUND")
    owner, journey.user_id = journey.user_id, "eve"
    assert read_refusal(journey.init(new, None)) == (401, "UNAUTHORIZED")
    journey.user_id, membership_id = owner, journey.membership_id
    journey.membership_id = str(uuid.uuid4())
    assert read_refusal(journey.init(new, None)) == (404, "NOT_FOUND")
    journey.membership_id = membership_id
    body = {"membership_id": membership_id, "user_id": owner, "new_device_id": "B", "new_public_key": "no key"}
    assert read_refusal(journey.http.post("/devices/reforge/init", json=body)) == (422, "INVALID_REQUEST")
    assert read_refusal(journey.http.post("/devices/reforge/confirm", json={"token": "x"})) == (404, "NOT_FOUND")
    assert read_refusal(journey.http.post("/devices/reforge/confirm", json={})) == (422, "INVALID_REQUEST")
    assert read_refusal(journey.http.get("/devices/reforge/x")) == (404, "NOT_FOUND")


def test_the_page_can_be_opened_by_scanners_and_still_confirms(journey: Journey) -> None:
    old = new_device("device-A")
    journey.mint(old)
    journey.init(new_device("device-B"), old)
    link = journey.link("confirm")
    for _ in range(2):
        opened = journey.http.get(link)
        assert opened.status_code == 200
    assert "device-B" in opened.text
    assert opened.text.count("<button") == 1
    assert "<script" not in opened.text
    token = parse_qs(urlsplit(link).query)["token"][0]
    posted = journey.http.post("/reforge/confirm", data={"token": token})
    assert posted.status_code == 200
    assert "Your membership has moved" in posted.text
    again = journey.http.post("/reforge/confirm", data={"token": token})
    assert again.status_code == 410
    assert "no longer works" in again.text


def test_pages_have_strict_headers_on_success_and_failure(journey: Journey) -> None:
    journey.mint(None)
    journey.init(new_device("device-B"), None)
    for path, status in ((journey.link("confirm"), 200), ("/reforge/confirm?token=unknown", 404)):
        answer = journey.http.get(path)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "x-http-status" not in answer.headers


def test_the_refuse_page_voids_the_link(journey: Journey) -> None:
    journey.mint(None)
    journey.init(new_device("device-B"), None)
    link = journey.link("refuse")
    assert "Was this not you?" in journey.http.get(link).text
    token = journey.token("refuse")
    assert "Refused" in journey.http.post("/reforge/refuse", data={"token": token}).text
    assert journey.http.get(journey.link("confirm")).status_code == 410


def test_the_undo_page_gives_the_membership_back(journey: Journey) -> None:
    old = new_device("device-A")
    journey.mint(old)
    journey.init(new_device("device-B"), old)
    journey.http.post("/reforge/confirm", data={"token": journey.token("confirm")})
    link = journey.link("undo")
    assert "Take this move back?" in journey.http.get(link).text
    assert "was taken back" in journey.http.post("/reforge/undo", data={"token": journey.token("undo")}).text
    assert journey.http.get(link).status_code == 410


ODD_POSTS: dict[str, Callable[[], dict[str, object]]] = {
    "nothing": lambda: {"content": b"", "headers": FORM},
    "JSON": lambda: {"json": {"token": "x"}},
    "other type": lambda: {"content": b"token=x", "headers": {"content-type": "text/plain"}},
    "no UTF-8": lambda: {"content": b"token=\xff", "headers": FORM},
    "many fields": lambda: {"content": b"&".join(b"a=b" for _ in range(50)), "headers": FORM},
    "large": lambda: {"content": b"token=" + b"x" * 10_000, "headers": FORM},
    "U+0000": lambda: {"content": b"token=%00", "headers": FORM},
}


@pytest.mark.parametrize("name", ODD_POSTS)
def test_an_odd_post_to_a_page_gets_a_friendly_page_and_no_5xx(journey: Journey, name: str) -> None:
    answer = journey.http.post("/reforge/confirm", **ODD_POSTS[name]())  # type: ignore[arg-type]
    assert 400 <= answer.status_code < 500
    assert "<h1>" in answer.text


def test_no_log_of_the_suite_holds_a_token_or_an_address(journey: Journey) -> None:
    old = new_device("device-A")
    journey.mint(old)
    journey.init(new_device("device-B"), old, proven=True)
    link = journey.link("confirm")
    journey.http.get(link)
    journey.http.post("/reforge/confirm", data={"token": journey.token("confirm")})
    journey.http.get(journey.link("undo"))
    tokens = [journey.token("confirm"), journey.token("undo")]
    for log in journey.stack.state.logs.glob("*.log"):
        text = log.read_text(errors="replace")
        for secret in (*tokens, journey.email):
            assert secret not in text, log.name
