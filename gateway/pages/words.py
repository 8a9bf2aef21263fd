"""Turn the protos' comments into HTML."""

from __future__ import annotations

import re
from typing import Final

from markupsafe import Markup, escape

_CODE: Final = re.compile(r"`([^`]+)`")


def breakable(path: str) -> Markup:
    """A path that may break after a slash."""
    return Markup("/<wbr>").join(path.split("/"))


def mark_code(text: str) -> Markup:
    """Escape `text`. Text in backticks becomes code, and an empty line begins a paragraph."""
    pieces = [
        Markup("<code>{}</code>").format(piece) if number % 2 else escape(piece)
        for number, piece in enumerate(_CODE.split(text))
    ]
    return Markup("").join(pieces).replace("\n\n", Markup("</p><p>"))
