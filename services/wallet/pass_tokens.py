"""The secret inside a pass, which the web service requires: HMAC-SHA-256(key, serial).

It is derived, not stored. A token changes only with its serial and the key. A pass on a phone keeps its token until the
phone gets a newer pass, so the previous key is accepted beside the new one.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Final
from uuid import UUID

from services.identity.development_keys import read_or_make_secret
from vyris.device_keys import base64url

SCHEME: Final = "ApplePass"
KEY_FILE: Final = "pass_auth_key"


class PassTokens:
    """Makes tokens with a key, and accepts those of a second one (`services.server.runtime.settings.Secret`)."""

    def __init__(self, key: str, second: str = "") -> None:
        self._keys = (key.encode(), second.encode()) if second else (key.encode(),)

    def token(self, serial: UUID) -> str:
        """The token of a pass: 43 characters of base64url."""
        return _token(self._keys[0], serial)

    def admits(self, authorization: str | None, serial: UUID) -> bool:
        """Whether an `Authorization` header contains a token of this pass. Takes constant time."""
        scheme, _, presented = (authorization or "").partition(" ")
        given = presented.strip().encode("utf-8", "replace")
        right = any(hmac.compare_digest(given, _token(key, serial).encode()) for key in self._keys)
        return right and scheme.lower() == SCHEME.lower()


def _token(key: bytes, serial: UUID) -> str:
    return base64url(hmac.digest(key, str(serial).encode(), hashlib.sha256))


def development_key(keys: Path) -> str:
    """The key in folder `keys`, made on first use."""
    return read_or_make_secret(keys, KEY_FILE)
