"""The pages behind a mail's link, and the mails, have the colours of the gateway's pages, light and dark."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
GATEWAY = (REPOSITORY / "gateway/pages/sources/shared.css").read_text(encoding="utf-8")
TEMPLATES = REPOSITORY / "services/reforge/templates"


def palettes(style: str) -> list[dict[str, str]]:
    """The colours of each `:root`, by name."""
    roots = re.findall(r":root \{([^}]*)\}", style)
    return [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", root)) for root in roots]


def test_the_pages_have_the_gateways_colours() -> None:
    ours, theirs = palettes((TEMPLATES / "pages/style.css").read_text(encoding="utf-8")), palettes(GATEWAY)
    assert len(ours) == len(theirs) == 2
    for mine, whole in zip(ours, theirs, strict=True):
        assert mine
        assert mine.items() <= whole.items()


def test_the_mails_have_no_other() -> None:
    known = {colour for palette in palettes(GATEWAY) for colour in palette.values()}
    for template in (TEMPLATES / "mail").glob("*.j2"):
        assert set(re.findall(r"#[0-9a-f]{6}\b", template.read_text(encoding="utf-8"))) <= known, template.name
