"""The preview as one HTML page: images inline, no script."""

from __future__ import annotations

import base64
import io
from importlib import resources

import jinja2
import segno

from services.wallet.opened_pass import OpenedPass
from services.wallet.preview.face import face_of


def preview_html(opened: OpenedPass, language: str = "en") -> str:
    """Return the page. Everything out of the pass is escaped."""
    face = face_of(opened, language)
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (resources.files(__package__) / "preview.html.j2").read_text()
    )
    return template.render(
        face=face,
        languages=opened.languages(),
        logo=_data_uri(opened, "logo@3x.png"),
        strip=_data_uri(opened, "strip@3x.png"),
        icon=_data_uri(opened, "icon@3x.png"),
        code=_code_uri(face.barcode_message),
    )


def _data_uri(opened: OpenedPass, name: str) -> str:
    return "data:image/png;base64," + base64.b64encode(opened.files.get(name, b"")).decode()


def _code_uri(message: str) -> str:
    svg = io.BytesIO()
    segno.make(message, error="m", micro=False).save(svg, kind="svg", border=0, xmldecl=False)
    return "data:image/svg+xml;base64," + base64.b64encode(svg.getvalue()).decode()
