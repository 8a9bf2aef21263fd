"""The pass preview in a real browser: light and dark, desktop and phone."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.wallet.development_certificates import development_credentials
from services.wallet.opened_pass import open_pass
from services.wallet.package import PassPress
from services.wallet.pass_json import PassFacts, PassIssuer
from services.wallet.preview.html import preview_html
from tests.browser.chromium import Browser

CONTRAST = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8")
FETCHED = "performance.getEntriesByType('resource').filter((entry) => !entry.name.startsWith('data:')).length"
SIZES = {"desktop": (1280, 900), "phone": (390, 844), "narrow": (320, 640)}
PASS_TYPE, TEAM = "pass.app.vyris.membership", "VYRISDEV01"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preview")
    credentials = development_credentials(folder, pass_type_identifier=PASS_TYPE, team_identifier=TEAM)
    facts = PassFacts(
        serial_number="8c7f0d0e-6f0b-4d9c-9a54-9a3f6f1f2a77",
        public_id="kq3XbW0u6dR8mYt1vN5sLw",
        tier="genesis",
        year="2025",
        sequence_num=42,
        minted_at=datetime(2025, 3, 9, 18, 30, tzinfo=UTC),
    )
    path = folder / "pass.html"
    press = PassPress(PassIssuer(PASS_TYPE, TEAM), credentials)
    path.write_text(preview_html(open_pass(press.press(facts, "t" * 43))), encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_preview_can_be_read_and_needs_nothing_else(
    browser: Browser, page: Path, tmp_path: Path, scheme: str, size: str
) -> None:
    browser.scheme(scheme)
    browser.size(*SIZES[size])
    browser.open(page.as_uri())
    folder = Path(os.environ.get("VYRIS_SCREENSHOTS") or tmp_path)
    browser.screenshot(folder / f"pass-{scheme}-{size}.png")
    seen = json.loads(evaluate(browser, CONTRAST))
    assert seen["looked"] > 12
    assert seen["found"] == []
    assert evaluate(browser, "document.documentElement.scrollWidth") <= SIZES[size][0]
    assert evaluate(browser, FETCHED) == 0
    assert browser.problems == []


def evaluate(browser: Browser, expression: str) -> Any:
    answer = browser.call("Runtime.evaluate", expression=expression, returnByValue=True)
    assert "exceptionDetails" not in answer, answer
    return answer["result"].get("value")
