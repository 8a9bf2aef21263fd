"""Inspect a pass file: its content, its signers, and its look on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from services.wallet.certificates import subject_value
from services.wallet.development_certificates import ROOT_FILE
from services.wallet.inspection import Verdict, judge_signature, signers
from services.wallet.opened_pass import NotAPass, OpenedPass, open_pass
from services.wallet.phrases import Language
from services.wallet.preview.html import preview_html
from services.wallet.settings import WalletSettings
from services.wallet.signing_setup import keys_folder

__all__ = [
    "Language",
    "NotAPass",
    "OpenedPass",
    "Verdict",
    "judge_signature",
    "local_root",
    "open_pass",
    "preview_html",
    "preview_png",
    "summary",
]


def preview_png(opened: OpenedPass, language: str) -> bytes:
    """Draw the pass as a PNG. Raises ImportError if Pillow is not installed."""
    from services.wallet.preview import png  # noqa: PLC0415 - Pillow is a tool of development

    return png.preview_png(opened, language)


def local_root() -> Path | None:
    """Return the file of the local stack's root certificate (PEM), or None."""
    try:
        root = keys_folder(WalletSettings(database_url="")) / ROOT_FILE
    except ValidationError:
        return None
    return root if root.exists() else None


def summary(opened: OpenedPass) -> dict[str, Any]:
    """Summarise a pass: its fields, and its signers."""
    document = opened.document
    # The signer first, then its issuer.
    certificates = sorted(signers(opened), key=_is_authority)
    names = [subject_value(part, NameOID.COMMON_NAME) for part in certificates]
    return {
        "serial": document.get("serialNumber"),
        "pass_type": document.get("passTypeIdentifier"),
        "team": document.get("teamIdentifier"),
        "number": _primary(document),
        "voided": bool(document.get("voided", False)),
        "web_service": document.get("webServiceURL", ""),
        "languages": ", ".join(opened.languages()),
        "certificates": " < ".join(str(name) for name in names) or "none",
        "valid_until": min((part.not_valid_after_utc for part in certificates), default=None),
    }


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False


def _primary(document: dict[str, Any]) -> str:
    fields = document.get("storeCard", {}).get("primaryFields", [{}])
    return str(fields[0].get("value", "")) if fields else ""
