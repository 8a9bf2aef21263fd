"""The preview shows what is inside the pass."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from PIL import Image, ImageChops

from services.wallet.opened_pass import open_pass
from services.wallet.package import PassPress
from services.wallet.pass_json import PassFacts, PassState
from services.wallet.preview.html import preview_html
from services.wallet.preview.png import preview_png

TOKEN = "t" * 43


def test_the_page_shows_the_number_the_tier_and_the_translated_labels(press: PassPress, facts: PassFacts) -> None:
    page = preview_html(open_pass(press.press(facts, TOKEN)), "de")
    for text in ('<div class="value">42</div>', "MITGLIED NR.", "Genesis", "9. März 2025", "Aktiv"):
        assert text in page
    assert 'src="data:image/png;base64,iVBOR' in page
    assert TOKEN not in page


def test_the_page_runs_nothing_that_a_pass_brings(press: PassPress, facts: PassFacts) -> None:
    opened = open_pass(press.press(facts, TOKEN))
    opened.document["storeCard"]["primaryFields"][0]["value"] = "<script>alert(1)</script>"
    assert "<script>" not in preview_html(opened)


@pytest.mark.slow
def test_the_picture_differs_where_the_passes_differ(press: PassPress, facts: PassFacts) -> None:
    def picture(of: PassFacts) -> Image.Image:
        return Image.open(io.BytesIO(preview_png(open_pass(press.press(of, TOKEN))))).convert("RGB")

    one, other = picture(facts), picture(replace(facts, sequence_num=43))
    revoked = picture(replace(facts, state=PassState.REVOKED))
    assert one.size == (1293, 1704)
    # The number over the strip differs; the code has the same message, so it does not.
    assert ImageChops.difference(one, other).crop((0, 300, 600, 700)).getbbox() is not None
    assert ImageChops.difference(one, other).crop((480, 1020, 820, 1400)).getbbox() is None
    strip = (700, 300, 1200, 690)
    assert max(revoked.crop(strip).convert("L").getextrema()) < max(one.crop(strip).convert("L").getextrema())
