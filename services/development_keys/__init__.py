"""Keys that a development stack makes for itself, in `keys/` of the state folder; production refuses to make any.

Processes that start at once must end up with the same key, nobody else may read it, and a power failure leaves a whole
file or none.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from services.runtime.settings import WrongSetting

PRIVATE_FOLDER: Final = 0o700
PRIVATE_FILE: Final = 0o600
SECRET_BYTES: Final = 32
MIN_SECRET_LENGTH: Final = 32
"""Characters that a secret has at least, whoever made it: as hexadecimal digits 128 bits."""


@contextmanager
def held(keys: Path, name: str) -> Iterator[None]:
    """Keep other processes from making the key `name` meanwhile. The folder is made where there is none."""
    keys.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    keys.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    with (keys / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_whole(path: Path, content: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """All of it or nothing, whenever the power fails."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def kept_secret(keys: Path, name: str) -> str:
    """The secret in the file `name`; where there is none, 64 hexadecimal digits are made.

    Raises WrongSetting where the file holds something shorter than a secret.
    """
    path = keys / name
    with held(keys, name):
        if not path.exists():
            write_whole(path, secrets.token_hex(SECRET_BYTES).encode())
        secret = path.read_text(encoding="utf-8").strip()
    if len(secret) < MIN_SECRET_LENGTH:
        raise WrongSetting(f"{path} holds no secret of {MIN_SECRET_LENGTH} characters or more: remove it for a new one")
    return secret
