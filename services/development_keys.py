"""Keys that a development stack makes for itself, in `keys/` of the state folder; production refuses to make any.

Processes that start at once must end up with the same key, nobody else may read it, and a power failure leaves a whole
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

from services.runtime.settings import SHORTEST_SECRET, WrongSetting
from services.runtime.whole_file import write_whole

PRIVATE_FOLDER: Final = 0o700
SECRET_BYTES: Final = 32


@contextmanager
def held(keys: Path, name: str) -> Iterator[None]:
    """Keep other processes from making the key `name` meanwhile. The folder is made where there is none."""
    keys.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    keys.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    with (keys / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def kept_secret(keys: Path, name: str) -> str:
    """The secret in the file `name`; where there is none, 64 hexadecimal digits are made.

    Raises WrongSetting where the file holds something shorter than a secret.
    """
    path = keys / name
    with held(keys, name):
        if not path.exists():
            write_whole(path, secrets.token_hex(SECRET_BYTES).encode())
        secret = path.read_text(encoding="utf-8").strip()
    if len(secret) < SHORTEST_SECRET:
        raise WrongSetting(f"{path} holds no secret of {SHORTEST_SECRET} characters or more: remove it for a new one")
    return secret


def kept_p256_key(keys: Path, name: str) -> ec.EllipticCurvePrivateKey:
    """The P-256 key in the file `name` (PKCS #8 in PEM); where there is none, one is generated.

    Raises WrongSetting where the file holds something else.
    """
    path = keys / name
    with held(keys, name):
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
