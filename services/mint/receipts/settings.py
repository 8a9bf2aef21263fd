"""Settings of receipts: the accepted kinds, and the keys that prove them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from uuid import UUID

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from services.mint.receipts.verified import DropName
from services.server.runtime.fields import drop_name
from services.server.runtime.settings import WrongSetting, expanded
from vyris.errors import InvalidRequest

ROOT_FILE_LIMIT_BYTES: Final = 65_536
_PEM: Final = "-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An in-app purchase key of App Store Connect. `pem` is its private half."""

    pem: bytes
    key_id: str
    issuer_id: str


class ReceiptSettings(BaseSettings):
    """Settings of the kinds of receipts."""

    receipt_kinds: str = Field(
        "opaque",
        description="comma-separated kinds of receipts accepted: app-store, merchant, opaque (development only)",
    )
    app_store_bundle_id: str = Field("", description="bundle id of the app whose purchases count")
    app_store_app_id: int | None = Field(None, ge=1, description="Apple id of that app (a number, App Store Connect)")
    app_store_roots: str = Field(
        "",
        description="Apple root certificates: comma-separated files (PEM or DER), or PEM text (newlines may be \\n)",
    )
    app_store_products: str = Field(
        "", description="comma-separated products that buy a membership: product.id=tier:year"
    )
    app_store_account_namespace: UUID | None = Field(
        None, description="for user ids that are no UUIDs: appAccountToken is their UUID of version 5 in this namespace"
    )
    app_store_sandbox: bool | None = Field(
        None,
        description="whether sandbox purchases (App Review, TestFlight) mint, from drops of the sandbox alone; "
        "empty: in development only",
    )
    app_store_online_checks: bool = Field(
        False, description="whether Apple is asked (OCSP) if a signing certificate was revoked"
    )
    app_store_api_key: SecretStr = Field(
        SecretStr(""),
        description="private key of the App Store Server API (In-App Purchase): a .p8 file, or its PEM text "
        "(newlines may be \\n). With it, refunds without a notification are found",
    )
    app_store_api_key_id: str = Field("", max_length=128, description="id of APP_STORE_API_KEY (App Store Connect)")
    app_store_api_issuer_id: str = Field(
        "", max_length=128, description="issuer id of APP_STORE_API_KEY (App Store Connect)"
    )
    app_store_api_url: str = Field(
        "", description="another address of the App Store Server API, for tests; production refuses it"
    )
    app_store_reconcile_interval_s: int = Field(
        3_600, ge=1, le=86_400, description="seconds between two comparisons with Apple's histories"
    )
    merchant_issuer: str = Field("", max_length=512, description="the claim iss of merchant receipts")
    merchant_jwt_typ: Literal["optional", "required"] = Field(
        "optional",
        description="whether the header of a merchant's receipts must say typ vyris-receipt+jwt, "
        "and that of its refunds vyris-refund+jwt",
    )
    merchant_jwks: str = Field("", description="file or https URL of the merchant's public keys (a JWK set)")
    merchant_sandbox: bool | None = Field(
        None,
        description="whether orders of the shop's test mode mint, from drops of the sandbox alone; "
        "empty: in development only",
    )
    merchant_audience: str = Field("vyris", description="what the claim aud of a merchant receipt names, where present")


def accepted_kinds(settings: ReceiptSettings) -> list[str]:
    """The kinds by name. Raises WrongSetting."""
    kinds = [kind.strip() for kind in settings.receipt_kinds.split(",") if kind.strip()]
    known = {"app-store", "merchant", "opaque"}
    if not kinds or not known.issuperset(kinds) or len(set(kinds)) != len(kinds):
        raise WrongSetting("RECEIPT_KINDS must name one or more of app-store, merchant, opaque, each once")
    return kinds


def products(text: str) -> dict[str, DropName]:
    """APP_STORE_PRODUCTS as a mapping of product ids to drops. Raises WrongSetting."""
    found: dict[str, DropName] = {}
    for entry in filter(None, (piece.strip() for piece in text.split(","))):
        product, equals, drop = entry.partition("=")
        tier, _, year = drop.strip().partition(":")
        try:
            name = drop_name(tier, year)
        except InvalidRequest:
            name = None
        if not product.strip() or not equals or name is None or product.strip() in found:
            raise WrongSetting(
                "APP_STORE_PRODUCTS must list product.id=tier:year, separated by commas, each product once"
            )
        found[product.strip()] = name
    if not found:
        raise WrongSetting("APP_STORE_PRODUCTS names no product: no App Store purchase could mint")
    return found


def api_key(settings: ReceiptSettings, *, production: bool) -> ApiKey | None:
    """The key of the App Store Server API; None if none is set. Raises WrongSetting."""
    if settings.app_store_api_url and production:
        raise WrongSetting("APP_STORE_API_URL is for tests; VYRIS_ENV=production asks Apple")
    text = settings.app_store_api_key.get_secret_value().strip()
    parts = (text, settings.app_store_api_key_id, settings.app_store_api_issuer_id)
    if not any(parts):
        return None
    if not all(parts):
        raise WrongSetting("APP_STORE_API_KEY, APP_STORE_API_KEY_ID and APP_STORE_API_ISSUER_ID must be set together")
    try:
        raw = text.replace("\\n", "\n").encode() if "-----BEGIN" in text else expanded(Path(text)).read_bytes()
        key = load_pem_private_key(raw, None)
    except OSError as error:
        raise WrongSetting(f"APP_STORE_API_KEY names a file that cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise WrongSetting("APP_STORE_API_KEY is no private key in PEM") from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise WrongSetting("APP_STORE_API_KEY is not a P-256 key")
    return ApiKey(raw, settings.app_store_api_key_id, settings.app_store_api_issuer_id)


def root_certificates(text: str) -> list[x509.Certificate]:
    """APP_STORE_ROOTS as certificates. Raises WrongSetting."""
    roots: list[x509.Certificate] = []
    try:
        if _PEM in text:
            roots = x509.load_pem_x509_certificates(text.replace("\\n", "\n").encode())
        else:
            for path in filter(None, (piece.strip() for piece in text.split(","))):
                roots += _certificates(Path(path))
    except OSError as error:
        raise WrongSetting(f"APP_STORE_ROOTS names a file that cannot be read ({error.strerror})") from None
    except ValueError:
        raise WrongSetting("APP_STORE_ROOTS holds something that is no certificate in PEM or DER") from None
    if not roots:
        raise WrongSetting("APP_STORE_ROOTS is empty; Apple publishes its roots at apple.com/certificateauthority")
    return roots


def _certificates(path: Path) -> list[x509.Certificate]:
    with path.open("rb") as file:
        raw = file.read(ROOT_FILE_LIMIT_BYTES)
    if _PEM.encode() in raw:
        return x509.load_pem_x509_certificates(raw)
    return [x509.load_der_x509_certificate(raw)]
