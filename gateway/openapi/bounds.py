"""Turn the bounds in the protos' comments into JSON Schema.

A caller reads a bound in a comment, and the document takes it from there. A test finds a phrase with a bound that has
no entry here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

Schema = dict[str, Any]

_TIME: Final = r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"
_PRINTABLE: Final = r"^[ -~]*[!-~][ -~]*$"
_WORD: Final = re.compile(r"`([A-Z][A-Z_]*[A-Z])`")


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def _between(found: re.Match[str]) -> Schema:
    return {"minLength": _number(found[1]), "maxLength": _number(found[2])}


PHRASES: Final[list[tuple[re.Pattern[str], Callable[[re.Match[str]], Schema]]]] = [
    (re.compile(r"\bUUID\b"), lambda _: {"format": "uuid"}),
    (re.compile(r"`\[a-z0-9-\]\{1,32\}`"), lambda _: {"pattern": "^[a-z0-9-]{1,32}$"}),
    (re.compile(r"`2000` to `2100`"), lambda _: {"pattern": "^(20[0-9]{2}|2100)$"}),
    (
        re.compile(r"\b([\d,]+) to ([\d,]+) printable ASCII characters"),
        lambda found: {**_between(found), "pattern": _PRINTABLE},
    ),
    # A limit in bytes is also a limit in characters: no character is shorter than a byte.
    (re.compile(r"\b([\d,]+) to ([\d,]+) bytes"), _between),
    (
        re.compile(r"\bat most ([\d,]+) (?:bytes|(?:printable ASCII )?characters)"),
        lambda found: {"maxLength": _number(found[1])},
    ),
    (re.compile(r"\bat most ([\d,]+) KiB"), lambda found: {"maxLength": 1024 * _number(found[1])}),
    (
        re.compile(r"RFC 3339, UTC, milliseconds[,;] (?:else )?empty"),
        lambda _: {"pattern": f"^({_TIME})?$"},
    ),
    (re.compile(r"RFC 3339, UTC, milliseconds"), lambda _: {"format": "date-time", "pattern": f"^{_TIME}$"}),
]
NUMBER_PHRASES: Final[list[tuple[re.Pattern[str], Callable[[re.Match[str]], Schema]]]] = [
    (
        re.compile(r"\b(\d+) to (\d+)\. 0 means"),
        lambda found: {"minimum": 0, "maximum": int(found[2])},
    ),
    (re.compile(r"\b(\d+) to capacity"), lambda found: {"minimum": int(found[1])}),
    (re.compile(r"^How many"), lambda _: {"minimum": 0}),
]


def text_bounds(comment: str) -> Schema:
    """The schema in a string field's comment; empty if there is none."""
    for pattern, schema in PHRASES:
        found = pattern.search(comment)
        if found:
            return schema(found)
    return {}


def number_bounds(comment: str) -> Schema:
    """The schema in an integer field's comment; empty if there is none."""
    for pattern, schema in NUMBER_PHRASES:
        found = pattern.search(comment)
        if found:
            return schema(found)
    return {}


def words(comment: str) -> list[str]:
    """The values in capitals in the comment of a `status` or `state`."""
    return _WORD.findall(comment)
