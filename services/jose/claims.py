"""Values of claims, taken out with their type and bounds checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from services.jose.refusals import TokenRefused

TEXT_CLAIM_LIMIT: Final = 128
NUMERIC_DATE_LIMIT: Final = 253_402_300_799  # The end of the year 9999, the last that a timestamp can show.


def numeric_date(claims: Mapping[str, Any], name: str) -> float:
    """NumericDate claim (RFC 7519 section 2) as seconds since 1970. Raises `TokenRefused`."""
    value = optional_numeric_date(claims, name)
    if value is None:
        raise TokenRefused(f"The claim {name} is missing")
    return value


def optional_numeric_date(claims: Mapping[str, Any], name: str) -> float | None:
    """Like `numeric_date`; None where the claim is absent."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenRefused(f"The claim {name} is not a number")
    if not 0 <= value <= NUMERIC_DATE_LIMIT:
        raise TokenRefused(f"The claim {name} is out of bounds")
    return float(value)


def names_audience(claims: Mapping[str, Any], us: str) -> bool:
    """Whether the claim aud, one name or a list of them (RFC 7519 section 4.1.3), names us."""
    audience = claims.get("aud")
    return us in (audience if isinstance(audience, list) else [audience])


def text_claim(claims: Mapping[str, Any], name: str) -> str:
    """A string claim of 1 to 128 printable characters. Raises `TokenRefused`."""
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise TokenRefused(f"The claim {name} is missing or not a string")
    if len(value) > TEXT_CLAIM_LIMIT:
        raise TokenRefused(f"The claim {name} is longer than {TEXT_CLAIM_LIMIT} characters")
    if not value.isprintable():  # Neither U+0000 nor a lone surrogate can be stored.
        raise TokenRefused(f"The claim {name} holds characters that are not printable")
    return value
