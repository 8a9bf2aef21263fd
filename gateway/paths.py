"""Paths with variables in braces, each one segment long: `/drops/{tier}/{year}`."""

from __future__ import annotations

import re

from vyris.http_rules import VARIABLE


def path_regex(template: str) -> str | None:
    """The RE2 expression for a template with variables; None if the path has none."""
    if "{" not in template:
        return None
    literals = VARIABLE.split(template)[::2]  # every second part is a variable's name
    return "[^/]+".join(re.escape(literal) for literal in literals)
