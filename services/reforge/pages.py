"""Render the pages as HTML. The headers forbid them to load or run anything, to be framed, and to send a referrer."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jinja2

from services.reforge.mail_messages import TEMPLATES

_HEADERS: Final = (
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("x-robots-tag", "noindex, nofollow"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=()"),
)


@dataclass(frozen=True, slots=True)
class Page:
    """A template's name, its values, and the HTTP status."""

    template: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


class Pages:
    """Renders pages. The style sheet is inline, and the policy allows it by its hash."""

    def __init__(self) -> None:
        folder = TEMPLATES / "pages"
        self._style = (folder / "style.css").read_text(encoding="utf-8")
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(folder),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        style_hash = base64.b64encode(hashlib.sha256(self._style.encode()).digest()).decode()
        policy = (
            f"default-src 'none'; style-src 'sha256-{style_hash}'; form-action 'self'; img-src data:; "
            "base-uri 'none'; frame-ancestors 'none'"
        )
        self.headers: tuple[tuple[str, str], ...] = (("content-security-policy", policy), *_HEADERS)

    def render(self, page: Page) -> bytes:
        """The page in UTF-8."""
        template = self._templates.get_template(f"{page.template}.html.j2")
        return template.render(page.facts, style=self._style).encode()
