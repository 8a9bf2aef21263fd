"""A signed pass as the service sent it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_FILE_NAME: Final = re.compile(r'filename="([A-Za-z0-9._-]+)"')


@dataclass(frozen=True)
class WalletPass:
    """A signed `.pkpass`: its bytes and its file name."""

    package: bytes
    file_name: str
    """The service's name for it: `vyris-<tier>-<sequence_num>.pkpass`."""

    def save(self, folder: Path | str) -> Path:
        """Write the pass into `folder` under its file name. Return the path. Raises OSError."""
        path = Path(folder) / self.file_name
        path.write_bytes(self.package)
        return path


def wallet_pass(body: Any, headers: Iterable[tuple[str, str | bytes]]) -> WalletPass:
    """Make a WalletPass of a google.api.HttpBody and the answer's initial metadata."""
    disposition = next((value for name, value in headers if name == "content-disposition"), "")
    found = _FILE_NAME.search(disposition) if isinstance(disposition, str) else None
    return WalletPass(body.data, found[1] if found else "vyris.pkpass")
