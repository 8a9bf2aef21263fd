"""Build a pass: files, manifest of their SHA-1 sums, signature, zip.

Source: Apple, "Building a Pass". The images and translations of a design are hashed and laid out once. Each pass then
needs only its text, two hashes, one signature and one join.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from services.wallet.artwork import images_for
from services.wallet.artwork.palettes import PALETTES, palette_for
from services.wallet.pass_json import PassFacts, PassIssuer, pass_json
from services.wallet.phrases import strings_files
from services.wallet.signing import SigningCredentials
from services.wallet.stored_zip import StoredZip

MEDIA_TYPE: Final = "application/vnd.apple.pkpass"


def sha1_hex(content: bytes) -> str:
    """Return the SHA-1 that Apple's manifest format requires. The security comes from the signature's SHA-256."""
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _manifest_line(name: str, content: bytes) -> bytes:
    return f'  {json.dumps(name)}: "{sha1_hex(content)}"'.encode()


class PassDesign:
    """The files that all passes of one design share."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """Hash and lay out `files` (path in the pass to bytes)."""
        self._manifest_start = b"".join(_manifest_line(name, content) + b",\n" for name, content in files.items())
        self._archive = StoredZip(files)

    def manifest(self, pass_text: bytes) -> bytes:
        """Return `manifest.json`: the SHA-1 of every file except itself and the signature."""
        return b"{\n" + self._manifest_start + _manifest_line("pass.json", pass_text) + b"\n}\n"

    def package(self, pass_text: bytes, credentials: SigningCredentials) -> bytes:
        """Return the signed `.pkpass`."""
        manifest = self.manifest(pass_text)
        return self._archive.with_files(
            {"pass.json": pass_text, "manifest.json": manifest, "signature": credentials.sign(manifest)}
        )


class PassPress:
    """Makes signed passes. Keeps every design in memory (about 100 KB each)."""

    def __init__(self, issuer: PassIssuer, credentials: SigningCredentials) -> None:
        """Read all designs."""
        self._issuer = issuer
        self._credentials = credentials
        words = strings_files()
        self._designs = {palette.name: PassDesign(images_for(palette) | words) for palette in PALETTES}

    def press(self, facts: PassFacts, authentication_token: str) -> bytes:
        """Return the signed pass for `facts`. The same facts give the same bytes, except for the signing time."""
        design = self._designs[palette_for(facts.tier).name]
        return design.package(pass_json(facts, self._issuer, authentication_token), self._credentials)
