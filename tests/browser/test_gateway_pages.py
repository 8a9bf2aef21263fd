"""The reference page and the live view in a real browser: light and dark, desktop and phone, connected and not."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from stack.local import Stack
from tests.browser.chromium import Browser, name_of

CONTRAST = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8")
SIZES = {"desktop": (1440, 900), "phone": (390, 844), "narrow": (320, 640)}
LIVE = "/drops/genesis/2025/live"


@pytest.fixture
def base(stack: Stack) -> str:
    """The address with a host that browsers trust enough to make keys."""
    return f"http://localhost:{stack.settings.gateway_port}"


def evaluate(browser: Browser, expression: str) -> Any:
    answer = browser.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
    assert "exceptionDetails" not in answer, answer
    return answer["result"].get("value")


def wait_for(browser: Browser, expression: str, holds: Callable[[Any], bool], limit_s: float = 20) -> Any:
    deadline = time.monotonic() + limit_s
    while not holds(value := evaluate(browser, expression)):
        assert time.monotonic() < deadline, (expression, value)
        time.sleep(0.1)
    return value


def text_of(name: str) -> str:
    return f"document.getElementById('{name}').textContent"


def mint(base: str) -> None:
    body = {"receipt_data": f"receipt-{uuid.uuid4()}", "user_id": "ada"}
    assert httpx.post(f"{base}/mint", json=body, timeout=15).status_code == 201


def looks(browser: Browser) -> Iterator[str]:
    """Show the open page light and dark, in each size: a page that was opened so looks the same."""
    for scheme, (size, (width, height)) in itertools.product(("light", "dark"), SIZES.items()):
        browser.scheme(scheme)
        browser.size(width, height)
        wait_for(browser, "innerWidth", lambda seen, width=width: seen == width)  # type: ignore[misc]
        yield f"{scheme}-{size}"


def assert_readable(browser: Browser, look: str, *, more_than: int = 0) -> None:
    """All text has enough contrast, there are `more_than` so many pieces of it, and nothing is wider than the page."""
    seen = json.loads(evaluate(browser, CONTRAST))
    assert seen["looked"] > more_than, look
    assert seen["found"] == [], look
    assert evaluate(browser, "document.documentElement.scrollWidth - innerWidth") <= 0, look


@pytest.mark.parametrize(("path", "more_than"), [("/docs", 300), (LIVE, 8)])
def test_text_can_be_read_everywhere(
    browser: Browser, base: str, keep_picture: Callable[[str], None], path: str, more_than: int
) -> None:
    browser.open(base + path)
    if path == LIVE:
        wait_for(browser, text_of("count"), str.isdigit)
    else:
        evaluate(browser, "document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    for look in looks(browser):
        keep_picture(f"{path.strip('/').replace('/', '-')}-{look}")
        assert_readable(browser, look, more_than=more_than)


@pytest.mark.parametrize("path", ["/docs", LIVE])
def test_pages_fetch_nothing_from_elsewhere_and_log_no_complaint(browser: Browser, base: str, path: str) -> None:
    browser.size(1440, 900)
    browser.open(base + path)
    time.sleep(2.5)
    fetched = evaluate(browser, "JSON.stringify(performance.getEntriesByType('resource').map((entry) => entry.name))")
    assert all(name.startswith(base + "/") for name in json.loads(fetched))
    assert evaluate(browser, "document.querySelectorAll('[src], link[href]:not([href^=\"data:\"])').length") == 0
    assert browser.problems == []


@pytest.mark.parametrize("path", ["/docs", LIVE])
def test_a_screen_reader_finds_one_main_and_one_title(browser: Browser, base: str, path: str) -> None:
    browser.open(base + path)
    nodes = browser.nodes("main", "button", "textbox", "combobox", "link")
    assert [node["role"]["value"] for node in nodes].count("main") == 1
    assert [node["role"]["value"] for node in nodes if not name_of(node) and node["role"]["value"] != "main"] == []
    assert evaluate(browser, "document.querySelectorAll('h1').length") == 1


def send(browser: Browser, operation: str) -> str:
    """Press an operation's Send button; return the first line of the result."""
    form = f"document.querySelector('#{operation} form')"
    evaluate(browser, f"{form}.querySelector('.result').replaceChildren(); {form}.requestSubmit()")
    return str(wait_for(browser, f"{form}.querySelector('.result').textContent", bool))


def choose(browser: Browser, operation: str, example: str) -> None:
    evaluate(
        browser,
        f"""(() => {{ const select = document.querySelector('#{operation} select');
        select.value = [...select.options].find((option) => option.text === '{example}').value;
        select.dispatchEvent(new Event('change')); }})()""",
    )


def test_the_examples_can_be_sent_one_after_the_other(
    browser: Browser, base: str, keep_picture: Callable[[str], None]
) -> None:
    browser.size(1440, 900)
    browser.open(f"{base}/docs")
    wait_for(browser, "document.querySelector('#initReforge .body').value.includes('Eaxfr8uEs') === false", bool)
    choose(browser, "mint", "with device")
    assert send(browser, "mint").startswith("201")
    assert send(browser, "getDrop").startswith("200")
    assert send(browser, "issuePass").startswith("200")
    assert "vyris-genesis-" in evaluate(browser, "document.querySelector('#issuePass .result').textContent")
    assert send(browser, "listEncounters").startswith("200")
    assert send(browser, "initReforge").startswith("202")
    assert send(browser, "getReforge").startswith("200")
    choose(browser, "refuseReforge", "by device")
    assert send(browser, "refuseReforge").startswith("200")
    assert send(browser, "getHealth").startswith("200")
    assert send(browser, "verifyEncounter").startswith("401")
    evaluate(browser, "document.getElementById('issuePass').scrollIntoView({ behavior: 'instant' })")
    keep_picture("docs-sent")


def test_the_live_view_follows_the_drop(browser: Browser, base: str) -> None:
    browser.size(1440, 900)
    browser.open(base + LIVE)
    before = int(wait_for(browser, text_of("count"), str.isdigit))
    mint(base)
    wait_for(browser, text_of("count"), lambda text: int(text) == before - 1, limit_s=6)
    assert evaluate(browser, text_of("caption")) == "of 999 remain"
    assert evaluate(browser, text_of("state")) == "Open"
    wait_for(browser, text_of("rate"), lambda text: any(map(str.isdigit, text)), limit_s=8)


def test_the_live_view_says_since_when_it_knows_nothing_and_recovers(
    browser: Browser, base: str, keep_picture: Callable[[str], None]
) -> None:
    browser.size(1440, 900)
    browser.open(base + LIVE)
    wait_for(browser, text_of("count"), str.isdigit)
    offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.call("Network.emulateNetworkConditions", offline=True, **offline)
    shown = wait_for(browser, text_of("link"), lambda text: "last seen" in text)
    assert "s ago" in shown
    assert evaluate(browser, text_of("state")) == "Open when last seen"
    keep_picture("live-lost")
    browser.call("Network.emulateNetworkConditions", offline=False, **offline)
    wait_for(browser, text_of("link"), lambda text: "Live" in text)


def test_the_live_view_says_that_a_drop_is_unknown(browser: Browser, base: str) -> None:
    browser.size(390, 844)
    browser.open(f"{base}/drops/nowhere/2077/live")
    wait_for(browser, text_of("count"), lambda text: text == "No such drop")
    assert "nowhere 2077" in evaluate(browser, text_of("caption"))
    assert evaluate(browser, "document.documentElement.scrollWidth") <= 390
