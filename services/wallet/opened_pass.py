"""Read a `.pkpass`: its files, its text, and whether they match its manifest."""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import dataclass
from typing import Any, Final

from services.wallet.package import sha1_hex

FILES_LIMIT: Final = 100
BYTES_LIMIT: Final = 20 * 1024 * 1024
_UNLISTED: Final = {"manifest.json", "signature"}
_STRING_LINE: Final = re.compile(r'^"((?:[^"\\]|\\.)*)"\s*=\s*"((?:[^"\\]|\\.)*)";\s*$', re.MULTILINE)


class NotAPass(Exception):
    """The bytes are not a pass. The text has the reason."""


@dataclass(frozen=True, slots=True)
class OpenedPass:
    """The files of a pass by path, and `pass.json` parsed."""

    files: dict[str, bytes]
    document: dict[str, Any]

    def translate(self, phrase: str, language: str) -> str:
        """Return this pass's translation of `phrase` into `language`."""
        return self._strings(language).get(phrase, phrase)

    def languages(self) -> list[str]:
        """Return the languages of this pass."""
        return sorted(name.split(".")[0] for name in self.files if name.endswith(".lproj/pass.strings"))

    def problems(self) -> list[str]:
        """Return the differences from the manifest; empty if every sum matches."""
        try:
            sums = json.loads(self.files["manifest.json"])
        except (KeyError, ValueError):
            return ["manifest.json is missing or not JSON"]
        listed, present = set(sums), set(self.files) - _UNLISTED
        return [
            *(f"{name} is listed and missing" for name in sorted(listed - present)),
            *(f"{name} is not listed" for name in sorted(present - listed)),
            *(
                f"{name} differs from its sum in the manifest"
                for name in sorted(listed & present)
                if sha1_hex(self.files[name]) != sums[name]
            ),
            *([] if "signature" in self.files else ["signature is missing"]),
        ]

    def _strings(self, language: str) -> dict[str, str]:
        text = self.files.get(f"{language}.lproj/pass.strings", b"").decode("utf-8", "replace")
        return {_unquote(key): _unquote(value) for key, value in _STRING_LINE.findall(text)}


def open_pass(package: bytes) -> OpenedPass:
    """Unpack a pass. Raises NotAPass."""
    try:
        with zipfile.ZipFile(io.BytesIO(package)) as archive:
            entries = archive.infolist()
            if len(entries) > FILES_LIMIT or sum(entry.file_size for entry in entries) > BYTES_LIMIT:
                raise NotAPass("the archive holds more than a pass ever does")
            files = {entry.filename: archive.read(entry) for entry in entries if not entry.is_dir()}
        document = json.loads(files["pass.json"])
    except (zipfile.BadZipFile, KeyError, ValueError, NotImplementedError, RuntimeError) as error:
        raise NotAPass(f"not a pass: {error}") from None
    if not isinstance(document, dict):
        raise NotAPass("pass.json is not an object")
    return OpenedPass(files, document)


def _unquote(text: str) -> str:
    return text.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
