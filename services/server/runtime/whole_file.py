"""Write files atomically."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

PRIVATE_FILE: Final = 0o600


def write_whole(path: Path, content: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Write all of the content or nothing, even if the power fails. By default only the owner can read the file."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
