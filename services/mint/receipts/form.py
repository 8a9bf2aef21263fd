"""Recognise the kind of a receipt by its form, without verifying it."""

from __future__ import annotations

import base64
import binascii
import json
import re
from functools import lru_cache

# RFC 7515 compact serialization: three base64url parts, the first a JSON object. `ey` encodes `{"` and `{ `; `ew`
# encodes `{` and a line break or a tab.
_JWS = re.compile(r"\s*e[yw][A-Za-z0-9_-]{8,}={0,2}\.[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*\s*", re.ASCII)


def looks_like_jws(receipt_data: str) -> bool:
    """Whether the text has the form of a compact JWS, padded or not."""
    return _JWS.fullmatch(receipt_data) is not None


def looks_like_storekit_jws(receipt_data: str) -> bool:
    """Whether it is a compact JWS with its certificates (`x5c`), as StoreKit 2 signs transactions."""
    return looks_like_jws(receipt_data) and _brings_certificates(receipt_data.lstrip().partition(".")[0])


def looks_like_plain_jws(receipt_data: str) -> bool:
    """Whether it is a compact JWS without certificates, whose key must be known beforehand."""
    return looks_like_jws(receipt_data) and not _brings_certificates(receipt_data.lstrip().partition(".")[0])


# All receipts that the App Store signs with one key share one header of some 5 kB.
@lru_cache(maxsize=64)
def _brings_certificates(header: str) -> bool:
    try:
        members = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return False
    return isinstance(members, dict) and "x5c" in members
