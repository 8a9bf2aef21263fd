"""A signed pass as it came."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_FILE_NAME: Final = re.compile(r'filename="([A-Za-z0-9._-]+)"')


@dataclass(frozen=True)
class WalletPass:
    """A `.pkpass`."""

    package: bytes
    file_name: str
    """What the service calls it: `vyris-<tier>-<sequence_num>.pkpass`."""

    def save(self, folder: Path | str) -> Path:
        """Write it into `folder` under its name; answers where."""
        path = Path(folder) / self.file_name
        path.write_bytes(self.package)
        return path


def wallet_pass(body: Any, headers: Iterable[tuple[str, str | bytes]]) -> WalletPass:
    """`body` is the google.api.HttpBody, `headers` the answer's initial metadata."""
    disposition = next((value for name, value in headers if name == "content-disposition"), "")
    found = _FILE_NAME.search(disposition) if isinstance(disposition, str) else None
    return WalletPass(body.data, found[1] if found else "vyris.pkpass")
