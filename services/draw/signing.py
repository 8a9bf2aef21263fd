"""The key of this process that signs promises and checkpoints (Ed25519)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from services.draw.maths import note_key_id, signed_note, verifier_key
from services.identity.development_keys import lock_key
from services.server.runtime.settings import WrongSetting
from services.server.runtime.whole_file import write_whole

PROMISE_TYPE: Final = "vyris-promise+jwt"
PROMISE_VERSION: Final = "vyris-promise-v1"
KEY_LIMIT_BYTES: Final = 4_096
DEVELOPMENT_NAME: Final = "draw_signing.pem"
_JSON: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


class DrawSigner:
    """Signs promises and checkpoints. Signatures are deterministic: a replay gets the same promise."""

    def __init__(self, key: Ed25519PrivateKey, name: str) -> None:
        """`name`: the key's name in notes, without blanks and plus signs."""
        self._key = key
        self.name = name
        self.public_key = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.verifier_key = verifier_key(name, self.public_key)
        header = {"alg": "EdDSA", "kid": note_key_id(name, self.public_key).hex(), "typ": PROMISE_TYPE}
        self._header = _encoded(header)

    def named(self, name: str) -> DrawSigner:
        """The same key under another name, because the public address may have changed since the terms were written."""
        return DrawSigner(self._key, name)

    def note(self, body: str) -> str:
        """`body` as a C2SP signed note."""
        return signed_note(body, self.name, self.public_key, self._key.sign(body.encode()))

    def promise(self, drop: str, terms_hash: bytes, hashed_leaf: bytes, entered_at: datetime) -> str:
        """A compact JWS (RFC 7515, RFC 8037) that the leaf will be in the tree. `drop` is tier/year."""
        claims = {
            "drop": drop,
            "iat": int(entered_at.timestamp()),
            "leaf": hashed_leaf.hex(),
            "terms": terms_hash.hex(),
            "v": PROMISE_VERSION,
        }
        signed = f"{self._header}.{_encoded(claims)}"
        return f"{signed}.{_base64url(self._key.sign(signed.encode()))}"


def key_name(public_base_url: str) -> str:
    """The key's name in notes: the public address without its scheme. Raises WrongSetting."""
    parts = urlsplit(public_base_url)
    name = (parts.netloc + parts.path).rstrip("/")
    if not name or "+" in name or not name.isascii() or not name.isprintable() or " " in name:
        raise WrongSetting("PUBLIC_BASE_URL names the key that signs checkpoints: it must have no blank and no +")
    return name


def read_signer(key_file: Path | None, state_dir: Path, public_base_url: str, *, production: bool) -> DrawSigner | None:
    """The signer with the key in DRAW_SIGNING_KEY_FILE; without it, with the local stack's key, in production none.

    Raises WrongSetting.
    """
    if key_file is None and production:
        return None
    name = key_name(public_base_url)
    if key_file is not None:
        return DrawSigner(_read_key(key_file), name)
    path = state_dir / "keys" / DEVELOPMENT_NAME
    try:
        with lock_key(path.parent, DEVELOPMENT_NAME):
            if not path.exists():
                made = Ed25519PrivateKey.generate()
                write_whole(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    except OSError as failure:
        raise WrongSetting(
            f"the key in VYRIS_STATE_DIR ({path.parent}) cannot be used: {failure.strerror}"
        ) from failure
    return DrawSigner(_read_key(path), name)


def _read_key(path: Path) -> Ed25519PrivateKey:
    try:
        with path.open("rb") as file:
            key = load_pem_private_key(file.read(KEY_LIMIT_BYTES), password=None)
    except OSError as failure:
        raise WrongSetting(f"DRAW_SIGNING_KEY_FILE {path} cannot be read: {failure.strerror}") from failure
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise WrongSetting(
            f"DRAW_SIGNING_KEY_FILE {path} holds no Ed25519 private key "
            "(`openssl genpkey -algorithm ed25519` makes one)"
        )
    return key


def _encoded(members: Mapping[str, Any]) -> str:
    return _base64url(_JSON.encode(members).encode())


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
