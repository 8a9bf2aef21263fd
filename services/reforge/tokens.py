"""Tokens of links and codes of devices: derived, never stored.

A link's token is HMAC-SHA-256(REFORGE_TOKEN_KEY, reforge_id) in base64url, 43
characters; other purposes prefix the id. The database keeps the SHA-256 of a token.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import StrEnum
from pathlib import Path
from typing import Final
from uuid import UUID

from services.development_keys import kept_secret
from services.runtime.typed import typed_digits
from vyris.device_keys import base64url

CODE_DIGITS: Final = 6
KEY_FILE: Final = "reforge_token_key"


class Purpose(StrEnum):
    """What a token may do; the prefix of what it is derived from."""

    MOVE = ""
    UNDO = "undo:"
    REFUSE_EMAIL = "refuse-email:"
    CONFIRM_EMAIL = "confirm-email:"


def has_code_form(typed: str) -> bool:
    """Whether it can be a code at all. Only what can be one is a guess."""
    return len(typed_digits(typed)) == CODE_DIGITS


class TokenKey:
    """The secret that tokens are derived from."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def token(self, purpose: Purpose, subject_id: UUID) -> str:
        """The token of one purpose for one request or change."""
        return base64url(self._mac(f"{purpose}{subject_id}"))

    def code(self, reforge_id: UUID) -> str:
        """The six digits that the new device shows."""
        number = int.from_bytes(self._mac(f"code:{reforge_id}")[:8], "big") % 10**CODE_DIGITS
        return f"{number:0{CODE_DIGITS}d}"

    def is_code(self, reforge_id: UUID, typed: str) -> bool:
        """Whether somebody typed the code, in whatever digits, blanks and hyphens aside; in constant time."""
        return hmac.compare_digest(typed_digits(typed).encode(), self.code(reforge_id).encode())

    def _mac(self, message: str) -> bytes:
        return hmac.digest(self._secret, message.encode(), "sha256")


def digest(token: str) -> bytes:
    """What is stored of a token and what it is found by."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def same_digest(stored: bytes, computed: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(stored, computed)


def development_secret(keys: Path) -> bytes:
    """The secret in `keys/reforge_token_key` (0600), made by whichever process comes first."""
    return kept_secret(keys, KEY_FILE).encode()
