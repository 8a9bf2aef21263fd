"""Tokens of links, and codes of devices: derived, never stored.

A link's token is HMAC-SHA-256(REFORGE_TOKEN_KEY, reforge_id) in base64url, 43 characters. Other purposes put a prefix
before the id. The database stores the SHA-256 of a token.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import StrEnum
from pathlib import Path
from typing import Final
from uuid import UUID

from services.identity.development_keys import read_or_make_secret
from services.server.runtime.typed import typed_digits
from vyris.device_keys import base64url

CODE_DIGITS: Final = 6
KEY_FILE: Final = "reforge_token_key"


class Purpose(StrEnum):
    """What a token may do. The value is the prefix of the text that the token is derived from."""

    MOVE = ""
    UNDO = "undo:"
    REFUSE_EMAIL = "refuse-email:"
    CONFIRM_EMAIL = "confirm-email:"


def has_code_form(typed: str) -> bool:
    """Whether the text has the form of a code. Only such a text counts as a guess."""
    return len(typed_digits(typed)) == CODE_DIGITS


class TokenKey:
    """The secret that tokens are derived from."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def token(self, purpose: Purpose, subject_id: UUID) -> str:
        """Derive the token for one purpose and one request or change: 43 characters of base64url."""
        return base64url(self._mac(f"{purpose}{subject_id}"))

    def code(self, reforge_id: UUID) -> str:
        """Derive the six digits that the new device shows."""
        number = int.from_bytes(self._mac(f"code:{reforge_id}")[:8], "big") % 10**CODE_DIGITS
        return f"{number:0{CODE_DIGITS}d}"

    def is_code(self, reforge_id: UUID, typed: str) -> bool:
        """Whether `typed` is the code. Accepts digits of any script, blanks and hyphens. Takes constant time."""
        return hmac.compare_digest(typed_digits(typed).encode(), self.code(reforge_id).encode())

    def _mac(self, message: str) -> bytes:
        return hmac.digest(self._secret, message.encode(), "sha256")


def digest(token: str) -> bytes:
    """The SHA-256 of a token: the database stores it and finds rows by it."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def same_digest(stored: bytes, computed: bytes) -> bool:
    """Compare two digests in constant time."""
    return hmac.compare_digest(stored, computed)


def development_secret(keys: Path) -> bytes:
    """Read the secret in `keys/reforge_token_key` (mode 0600). The first process makes it."""
    return read_or_make_secret(keys, KEY_FILE).encode()
