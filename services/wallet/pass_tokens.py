"""The secret inside a pass, which the web service requires: HMAC-SHA-256(key, serial).

It is derived, not stored. A token changes only with its serial.
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
    """Makes and checks tokens with one key, a secret (`services.server.runtime.settings.Secret`)."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def token(self, serial: UUID) -> str:
        """The token of a pass: 43 characters of base64url."""
        digest = hmac.digest(self._key, str(serial).encode(), hashlib.sha256)
        return base64url(digest)

    def admits(self, authorization: str | None, serial: UUID) -> bool:
        """Whether an `Authorization` header contains the token of this pass. Takes constant time."""
        scheme, _, presented = (authorization or "").partition(" ")
        right = hmac.compare_digest(presented.strip().encode("utf-8", "replace"), self.token(serial).encode())
        return right and scheme.lower() == SCHEME.lower()


def development_key(keys: Path) -> str:
    """The key in folder `keys`, made on first use."""
    return read_or_make_secret(keys, KEY_FILE)
