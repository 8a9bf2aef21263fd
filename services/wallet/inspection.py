"""Verify a pass with a second implementation: OpenSSL's `cms -verify`."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs7

from services.wallet.opened_pass import OpenedPass

VERIFY_TIMEOUT_S: Final = 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a signature is valid. `holds` is None if it could not be checked."""

    holds: bool | None
    reason: str


def judge_signature(opened: OpenedPass, root: Path | None) -> Verdict:
    """Verify the manifest's signature, with the chain up to the certificate in `root`, or (None) without the chain."""
    openssl = shutil.which("openssl")
    if openssl is None:
        return Verdict(None, "openssl is not installed, so nothing judged the signature")
    if "signature" not in opened.files or "manifest.json" not in opened.files:
        return Verdict(False, "signature or manifest.json is missing")
    trust = ["-noverify"] if root is None else ["-CAfile", str(root), "-purpose", "any"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in ("signature", "manifest.json"):
            (folder / name).write_bytes(opened.files[name])
        command = [
            *(openssl, "cms", "-verify", "-binary", "-inform", "DER"),
            *("-in", str(folder / "signature"), "-content", str(folder / "manifest.json"), "-out", "/dev/null"),
            *trust,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=VERIFY_TIMEOUT_S, check=False)
    if done.returncode != 0:
        return Verdict(False, done.stderr.strip().splitlines()[-1] if done.stderr else "openssl refused it")
    return Verdict(True, "up to the given root" if root else "intact; no root was given to judge the chain by")


def signers(opened: OpenedPass) -> list[x509.Certificate]:
    """Return the certificates inside the signature; empty if it cannot be read."""
    try:
        return pkcs7.load_der_pkcs7_certificates(opened.files["signature"])
    except (KeyError, ValueError):
        return []
