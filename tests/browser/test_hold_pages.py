"""A drop that sells by hold in a real browser, phone and desktop: the live view and the reference."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import asyncpg
import httpx
import pytest

from admin.drops import NewDrop, create_drop
from stack.local import Stack
from tests.browser.chromium import Browser
from tests.browser.test_gateway_pages import (
    SIZES,
    assert_readable,
    base,
    evaluate,
    looks,
    send,
    text_of,
    wait_for,
)

__all__ = ["base"]
NUMBERS = 3
_tiers = itertools.count(1)


@pytest.fixture
def drop(stack: Stack) -> str:
    """The path of a drop of three numbers that sells by hold."""
    tier = f"browsed-{next(_tiers)}"

    async def create() -> None:
        connection = await asyncpg.connect(stack.database_url)
        async with connection.transaction():
            await create_drop(connection, NewDrop(tier, "2031", NUMBERS, sale="hold"))
        await connection.close()

    asyncio.run(create())
    return f"/drops/{tier}/2031"


def post(url: str, **body: str) -> dict[str, dict[str, str]]:
    answer = httpx.post(url, json=body, timeout=15)
    assert answer.is_success, answer.text
    created: dict[str, dict[str, str]] = answer.json()
    return created


def test_the_live_view_says_that_all_are_held_and_some_may_return(
    browser: Browser, base: str, drop: str, keep_picture: Callable[[str], None]
) -> None:
    browser.open(f"{base}{drop}/live")
    wait_for(browser, text_of("count"), lambda text: text == "3")
    assert evaluate(browser, "document.getElementById('held').checkVisibility()") is False

    holds = [post(f"{base}{drop}/holds", user_id=f"u{n}")["hold"]["id"] for n in range(NUMBERS)]
    wait_for(browser, text_of("state"), lambda text: text == "All held", limit_s=6)
    assert evaluate(browser, text_of("count")) == "0"
    assert evaluate(browser, text_of("caption")) == "All held: 3 numbers may still come back"
    assert evaluate(browser, text_of("held")) == "3 being paid for"
    assert evaluate(browser, text_of("minted")) == "0 of 3"
    assert "All held" in evaluate(browser, text_of("spoken"))
    for look in looks(browser):
        keep_picture(f"live-held-{look}")
        assert_readable(browser, look)

    _, tier, year = drop.strip("/").split("/")
    post(f"{base}/mint", receipt_data=f"r {tier}", user_id="u0", tier=tier, year=year)
    wait_for(browser, text_of("minted"), lambda text: text == "1 of 3", limit_s=6)
    assert evaluate(browser, text_of("caption")) == "All held: 2 numbers may still come back"
    post(f"{base}/holds/release", hold_id=holds[1], user_id="u1")
    wait_for(browser, text_of("state"), lambda text: text == "Open", limit_s=6)
    assert evaluate(browser, text_of("count")) == "1"
    assert evaluate(browser, text_of("held")) == "1 being paid for"
    assert browser.problems == []


def test_a_hold_can_be_taken_and_followed_in_the_reference(
    browser: Browser, base: str, drop: str, keep_picture: Callable[[str], None]
) -> None:
    browser.size(*SIZES["phone"])
    browser.open(f"{base}/docs")
    wait_for(browser, "document.querySelector('#initReforge .body').value.includes('Eaxfr8uEs') === false", bool)
    tier = drop.split("/")[2]
    for field, value in (("tier", tier), ("year", "2031")):
        evaluate(browser, f"document.getElementById('takeHold-{field}').value = '{value}'")
    assert send(browser, "takeHold").startswith("201")
    # The requests further down name the hold of this answer.
    assert send(browser, "extendHold").startswith("200")
    assert send(browser, "getHold").startswith("200")
    assert '"state": "HELD"' in evaluate(browser, "document.querySelector('#getHold .result').textContent")
    assert send(browser, "releaseHold").startswith("200")
    evaluate(browser, "document.getElementById('takeHold').scrollIntoView({ behavior: 'instant' })")
    for look in looks(browser):
        keep_picture(f"docs-hold-{look}")
        assert evaluate(browser, "document.documentElement.scrollWidth - innerWidth") <= 0, look
