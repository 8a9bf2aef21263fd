"""Paths with variables in braces, each one segment long: `/drops/{tier}/{year}`."""

from __future__ import annotations

import re
from typing import Final

VARIABLE: Final = re.compile(r"\{[a-z_][a-z0-9_.]*(?:=\*)?\}")


def path_regex(template: str) -> str | None:
    """RE2 expression for a template with variables; None where the path is exact."""
    if "{" not in template:
        return None
    return "[^/]+".join(re.escape(literal) for literal in VARIABLE.split(template))
