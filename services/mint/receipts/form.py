"""Tells receipts apart by their form."""

from __future__ import annotations

import re

# RFC 7515 compact serialization: three base64url parts, the first a JSON object.
_JWS = re.compile(r"\s*ey[A-Za-z0-9_-]{8,}={0,2}\.[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*\s*", re.ASCII)


def looks_like_jws(receipt_data: str) -> bool:
    """Whether the text has the form of a compact JWS, padded or not."""
    return _JWS.fullmatch(receipt_data) is not None
