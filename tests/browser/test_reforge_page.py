"""The page behind the mail's link in a real browser: read, confirmed, without JavaScript, in light and dark."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image

from stack.local import Stack
from tests.acceptance.reforge.journey import Journey, new_device
from tests.browser.chromium import Browser


@pytest.fixture
def journey(stack: Stack) -> Journey:
    journey = Journey(stack)
    old = new_device("device-A")
    journey.mint(old)
    journey.init(new_device("Ada's new phone"), old)
    return journey


def brightness(png: bytes) -> float:
    """Mean brightness of the picture, from 0 (black) to 255 (white)."""
    histogram = Image.open(io.BytesIO(png)).convert("L").histogram()
    return sum(value * count for value, count in enumerate(histogram)) / sum(histogram)


def test_the_page_is_read_and_confirmed_without_javascript(
    browser: Browser, journey: Journey, keep_picture: Callable[[str], None]
) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    link = journey.base + journey.link("confirm")
    for _ in range(2):  # as a mail scanner does
        browser.open(link)
    assert browser.names("heading") == ["Move your membership to a new device?"]
    assert browser.names("button") == ["Yes, move it"]
    assert browser.names("link") == ["This was not me"]
    assert "Ada's new phone" in browser.text()
    assert len(browser.nodes("main")) == 1
    browser.press("button", "Yes, move it")
    assert browser.names("heading") == ["Your membership has moved"]
    keep_picture("confirmed")
    browser.open(link)
    assert browser.names("heading") == ["This link no longer works"]
    keep_picture("used")


def test_light_and_dark_follow_the_reader(
    browser: Browser, journey: Journey, keep_picture: Callable[[str], None]
) -> None:
    link = journey.base + journey.link("confirm")
    shades = {}
    for scheme in ("light", "dark"):
        browser.scheme(scheme)
        browser.open(link)
        keep_picture(f"confirm-{scheme}")
        shades[scheme] = brightness(browser.screenshot())
    assert shades["light"] > 200
    assert shades["dark"] < 60


def test_a_narrow_screen_needs_no_sideways_scrolling(
    browser: Browser, journey: Journey, keep_picture: Callable[[str], None]
) -> None:
    browser.size(320, 700)
    browser.open(journey.base + journey.link("confirm"))
    size = browser.call("Page.getLayoutMetrics")["cssContentSize"]
    assert size["width"] <= 320
    keep_picture("confirm-narrow")


def test_the_owner_can_refuse_from_the_page(
    browser: Browser, journey: Journey, keep_picture: Callable[[str], None]
) -> None:
    browser.open(journey.base + journey.link("confirm"))
    browser.press("link", "This was not me")
    assert browser.names("heading") == ["Was this not you?"]
    keep_picture("refuse")
    browser.press("button", "Refuse the move")
    assert browser.names("heading") == ["Refused. Nothing has changed"]


def test_the_browser_finds_nothing_that_the_policy_forbids(browser: Browser, journey: Journey) -> None:
    browser.open(journey.base + journey.link("confirm"))
    browser.press("button", "Yes, move it")
    assert browser.problems == []
