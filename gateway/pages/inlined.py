"""HTML pages with inline style and script, and the policy that allows exactly these."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2

from gateway.pages.words import breakable, mark_code

SOURCES: Final = Path(__file__).with_name("sources")


@dataclass(frozen=True)
class HtmlPage:
    """A page and the Content-Security-Policy that it needs."""

    text: str
    content_security_policy: str


def render_page(name: str, facts: Mapping[str, Any]) -> HtmlPage:
    """Fill `sources/<name>.html.j2` with `facts`, its style `<name>.css` and its script `<name>.js`."""
    style = _source("shared.css") + _source(f"{name}.css")
    script = _source(f"{name}.js")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(SOURCES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"marked": mark_code, "breakable": breakable}
    text = environment.get_template(f"{name}.html.j2").render(facts, style=style, script=script)
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HtmlPage(text, policy)


def _source(name: str) -> str:
    return (SOURCES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The hash of CSP Level 3, section 2.3.1, of exactly the text between the tags."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
