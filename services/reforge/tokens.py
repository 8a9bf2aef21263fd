"""Tokens of links, and codes of devices: derived, never stored.

A link's token is HMAC-SHA-256(REFORGE_TOKEN_KEY, reforge_id) in base64url, 43 characters. Other purposes put a prefix
before the id. The database stores the SHA-256 of a token.

While the key is replaced, processes know two keys: a link or a code may be of either, whichever process made it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
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
    """The secret that tokens are derived from, and a second one that they may have been derived from."""

    def __init__(self, secret: bytes, second: bytes = b"") -> None:
        self._secrets = (secret, second) if second else (secret,)

    def token(self, purpose: Purpose, subject_id: UUID) -> str:
        """Derive the token for one purpose and one request or change: 43 characters of base64url."""
        return _token(self._secrets[0], purpose, subject_id)

    def stored_token(self, purpose: Purpose, subject_id: UUID, digests: Collection[bytes]) -> str:
        """Derive the token that has one of the stored `digests`. If none has, derive it with the first secret."""
        tokens = [_token(secret, purpose, subject_id) for secret in self._secrets]
        return next((token for token in tokens if digest(token) in digests), tokens[0])

    def code(self, reforge_id: UUID) -> str:
        """Derive the six digits that the new device shows."""
        return _code(self._secrets[0], reforge_id)

    def is_code(self, reforge_id: UUID, typed: str) -> bool:
        """Whether `typed` is the code. Accepts digits of any script, blanks and hyphens. Takes constant time."""
        digits = typed_digits(typed).encode()
        return any(hmac.compare_digest(digits, _code(secret, reforge_id).encode()) for secret in self._secrets)


def _token(secret: bytes, purpose: Purpose, subject_id: UUID) -> str:
    return base64url(_mac(secret, f"{purpose}{subject_id}"))


def _code(secret: bytes, reforge_id: UUID) -> str:
    number = int.from_bytes(_mac(secret, f"code:{reforge_id}")[:8], "big") % 10**CODE_DIGITS
    return f"{number:0{CODE_DIGITS}d}"


def _mac(secret: bytes, message: str) -> bytes:
    return hmac.digest(secret, message.encode(), "sha256")


def digest(token: str) -> bytes:
    """The SHA-256 of a token: the database stores it and finds rows by it."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def same_digest(stored: bytes, computed: bytes) -> bool:
    """Compare two digests in constant time."""
    return hmac.compare_digest(stored, computed)


def development_secret(keys: Path) -> bytes:
    """Read the secret in `keys/reforge_token_key` (mode 0600). The first process makes it."""
    return read_or_make_secret(keys, KEY_FILE).encode()
