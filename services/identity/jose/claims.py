"""Read values of claims, with their type and bounds checked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from services.identity.jose.refusals import TokenRefused
from vyris.device_keys import base64url

TEXT_CLAIM_LIMIT: Final = 512
"""Limit in characters. Such a claim is stored and indexed: with four bytes each it still fits into an index page."""
REPLAY_ID_LIMIT: Final = 128
"""Limit of a replay id in characters; the schema has the same."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_DIGEST_PREFIX: Final = "sha256:"
NUMERIC_DATE_LIMIT: Final = 253_402_300_799  # The end of the year 9999, the last that a timestamp can show.


def numeric_date(claims: Mapping[str, Any], name: str) -> float:
    """NumericDate claim (RFC 7519 section 2) as seconds since 1970. Raises `TokenRefused`."""
    value = optional_numeric_date(claims, name)
    if value is None:
        raise TokenRefused(f"The claim {name} is missing")
    return value


def optional_numeric_date(claims: Mapping[str, Any], name: str) -> float | None:
    """Like `numeric_date`, but None if the claim is absent."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenRefused(f"The claim {name} is not a number")
    if not 0 <= value <= NUMERIC_DATE_LIMIT:
        raise TokenRefused(f"The claim {name} is out of bounds")
    return float(value)


def audiences(claims: Mapping[str, Any]) -> list[str]:
    """The names in the claim aud: one string, or an array of them (RFC 7519 section 4.1.3). Raises `TokenRefused`."""
    audience = claims.get("aud")
    listed = audience if isinstance(audience, list) else [audience]
    names = [name for name in listed if isinstance(name, str)]
    if not names or len(names) < len(listed):
        raise TokenRefused("The claim aud is missing, or neither a string nor an array of strings")
    return names


def names_audience(claims: Mapping[str, Any], us: str) -> bool:
    """Whether the claim aud names us. False if it is missing or malformed."""
    try:
        return us in audiences(claims)
    except TokenRefused:
        return False


def text_claim(claims: Mapping[str, Any], name: str) -> str:
    """A string claim of 1 to 512 printable characters, safe to store and show. Raises `TokenRefused`."""
    value = _string_claim(claims, name)
    if len(value) > TEXT_CLAIM_LIMIT:
        raise TokenRefused(f"The claim {name} is longer than {TEXT_CLAIM_LIMIT} characters")
    if not value.isprintable():  # Neither U+0000 nor a lone surrogate can be stored.
        raise TokenRefused(f"The claim {name} holds characters that are not printable")
    return value


def replay_id(claims: Mapping[str, Any]) -> str:
    """The id that is stored for the claim jti, 1 to 128 printable characters. Raises `TokenRefused`.

    RFC 7519 section 4.1.7 allows any string. A short printable jti is its own replay id; any other is replaced by its
    SHA-256. U+0000 and lone surrogates are refused, as everywhere.
    """
    value = _string_claim(claims, "jti")
    if "\x00" in value or _SURROGATE.search(value):
        raise TokenRefused("The claim jti holds characters that are not allowed")
    if len(value) <= REPLAY_ID_LIMIT and value.isprintable() and not value.startswith(_DIGEST_PREFIX):
        return value
    digest = hashlib.sha256(value.encode()).digest()
    return _DIGEST_PREFIX + base64url(digest)


def _string_claim(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise TokenRefused(f"The claim {name} is missing or not a string")
    return value
