"""JSON objects and base64url as RFC 7515 requires them: each value has one spelling."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from typing import Any, Final, NoReturn

from vyris.device_keys import base64url

_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)


class NotStrict(ValueError):
    """The text is not the one accepted spelling. The message names the broken rule."""


def decode_base64url(text: str) -> bytes:
    """Decode base64url: no padding, no other characters, no stray bits at the end. Raises `NotStrict`."""
    if not _ALPHABET.fullmatch(text):
        raise NotStrict("is not base64url without padding")
    if len(text) % 4 == 1:
        raise NotStrict("has a length that base64url cannot have")
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64url(raw) != text:
        raise NotStrict("is not canonical base64url")
    return raw


def read_object(raw: bytes | str) -> dict[str, Any]:
    """Parse a JSON object: UTF-8, no duplicate names, finite numbers. Raises `NotStrict`."""
    try:
        text = raw if isinstance(raw, str) else raw.decode("utf-8")
        value = _DECODER(text)
    except NotStrict:
        raise
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are subclasses of ValueError.
        raise NotStrict("is not a JSON object") from None
    if not isinstance(value, dict):
        raise NotStrict("is not a JSON object")
    return value


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotStrict("names a member twice")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotStrict("holds a number out of bounds")
    return number


def _no_constant(_: str) -> NoReturn:
    raise NotStrict("is not a JSON object")


_DECODER: Final[Callable[[str], Any]] = json.JSONDecoder(
    object_pairs_hook=_unique_members, parse_float=_finite, parse_constant=_no_constant
).decode
