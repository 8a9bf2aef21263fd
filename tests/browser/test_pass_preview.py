"""The pass preview in a real browser: light and dark, desktop and phone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.wallet.development_certificates import development_credentials
from services.wallet.opened_pass import open_pass
from services.wallet.package import PassPress
from services.wallet.pass_json import PassFacts, PassIssuer
from services.wallet.preview.html import preview_html
from tests.browser.chromium import Browser
from tests.browser.test_gateway_pages import assert_readable, evaluate, looks

FETCHED = "performance.getEntriesByType('resource').filter((entry) => !entry.name.startsWith('data:')).length"
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


def test_the_preview_can_be_read_and_needs_nothing_else(
    browser: Browser, page: Path, keep_picture: Callable[[str], None]
) -> None:
    browser.open(page.as_uri())
    for look in looks(browser):
        keep_picture(f"pass-{look}")
        assert_readable(browser, look, more_than=12)
    assert evaluate(browser, FETCHED) == 0
    assert browser.problems == []
