"""A tab of a browser for each test; without Chromium the tests skip with a reason, or fail where it is required."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser.chromium import Browser, chromium_path

MISSING = "Chromium is not installed (`apt-get install chromium`, or set CHROMIUM)"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One Chromium for all tests: each start costs some seconds."""
    path = chromium_path()
    if path is None and os.environ.get("VYRIS_BROWSER") != "required":
        pytest.skip(MISSING)
    assert path is not None, MISSING
    with Browser(path) as running:
        yield running


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    """An empty tab of 900 by 900 points."""
    chromium.open_tab()
    chromium.call("Runtime.enable")
    chromium.size(900, 900)
    return chromium


@pytest.fixture
def keep_picture(browser: Browser) -> Callable[[str], None]:
    """Keep a screenshot of the page under a name, if VYRIS_SCREENSHOTS names a folder: people alone look at it."""
    kept = os.environ.get("VYRIS_SCREENSHOTS")

    def keep(name: str) -> None:
        if kept:
            folder = Path(kept)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.png").write_bytes(browser.screenshot())

    return keep
