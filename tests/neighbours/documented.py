"""The configurations of `docs/operations.md`, with the addresses of a test."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from tests.shell import REPOSITORY

DOCUMENT: Final = REPOSITORY / "docs" / "operations.md"


def documented(language: str) -> str:
    """The one block of the document in this language (the word behind its fence)."""
    (block,) = re.findall(
        rf"^```{re.escape(language)}\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return str(block)


def with_replacements(text: str, replacements: Mapping[str, str]) -> str:
    """Replace each text. Each must be there, so that the document and the tests cannot drift apart."""
    for old, new in replacements.items():
        assert old in text, f"{DOCUMENT.name} has no {old!r}"
        text = text.replace(old, new)
    return text
