"""Keys that a development stack makes, in `keys/` of the state folder. Production never makes keys.

Processes that start at the same time get the same key, only the owner can read it, and a power failure leaves a whole
file or none.
"""

from __future__ import annotations

import fcntl
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from services.server.runtime.settings import SHORTEST_SECRET, WrongSetting
from services.server.runtime.whole_file import write_whole

PRIVATE_FOLDER: Final = 0o700
SECRET_BYTES: Final = 32


@contextmanager
def lock_key(keys: Path, name: str) -> Iterator[None]:
    """Lock the key `name`, so that no other process makes it. Makes the folder if it is missing."""
    keys.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    keys.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    with (keys / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read_or_make_secret(keys: Path, name: str) -> str:
    """Read the secret in the file `name`; if there is no file, make 64 hexadecimal digits.

    Raises WrongSetting if the file's text is too short for a secret.
    """
    path = keys / name
    with lock_key(keys, name):
        if not path.exists():
            write_whole(path, secrets.token_hex(SECRET_BYTES).encode())
        secret = path.read_text(encoding="utf-8").strip()
    if len(secret) < SHORTEST_SECRET:
        raise WrongSetting(f"{path} holds no secret of {SHORTEST_SECRET} characters or more: remove it for a new one")
    return secret


def read_or_make_p256_key(keys: Path, name: str) -> ec.EllipticCurvePrivateKey:
    """Read the P-256 key in the file `name` (PKCS #8 in PEM); if there is no file, generate one.

    Raises WrongSetting if the file is not such a key.
    """
    path = keys / name
    with lock_key(keys, name):
        if not path.exists():
            made = ec.generate_private_key(ec.SECP256R1())
            write_whole(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        pem = path.read_bytes()
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise WrongSetting(f"{path} holds no P-256 private key: remove it for a new one")
    return key
