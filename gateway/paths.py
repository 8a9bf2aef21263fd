"""Paths with variables in braces, each one segment long: `/drops/{tier}/{year}`."""

from __future__ import annotations

import re

from vyris.http_rules import VARIABLE


def path_regex(template: str) -> str | None:
    """RE2 expression for a template with variables; None where the path is exact."""
    if "{" not in template:
        return None
    literals = VARIABLE.split(template)[::2]  # between them stand the variables' names
    return "[^/]+".join(re.escape(literal) for literal in literals)
