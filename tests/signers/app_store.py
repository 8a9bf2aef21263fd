"""The tests' own App Store: certificates in Apple's form, and texts that they sign."""

from __future__ import annotations

import base64
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

BUNDLE_ID = "app.vyris.test"
APP_ID = 1_234_567_890
PRODUCT = "app.vyris.genesis"
PRODUCTS = f"{PRODUCT}=genesis:2025"

# Extensions that Apple's library requires of leaf and intermediate (Apple, WWDR certificate policy).
LEAF_MARK = x509.ObjectIdentifier("1.2.840.113635.100.6.11.1")
INTERMEDIATE_MARK = x509.ObjectIdentifier("1.2.840.113635.100.6.2.1")


class Signer(NamedTuple):
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


class AppStoreSigner:
    """Root (P-384), intermediate (P-384) and leaf (P-256), valid from two days ago for `days`."""

    def __init__(
        self,
        *,
        valid_from: datetime | None = None,
        days: int = 365,
        name: str = "Test",
        ocsp_url: str | None = None,
    ) -> None:
        self._ocsp_url = ocsp_url
        self._from = valid_from or datetime.now(UTC) - timedelta(days=2)
        self._until = self._from + timedelta(days=days)
        self.root = self._issue(f"{name} Root CA - G3", ec.SECP384R1(), None, None)
        self.intermediate = self._issue(f"{name} WWDR", ec.SECP384R1(), self.root, INTERMEDIATE_MARK)
        self.leaf = self.new_leaf()

    def new_leaf(self) -> Signer:
        return self._issue("Test App Store Signing", ec.SECP256R1(), self.intermediate, LEAF_MARK, leaf=True)

    @property
    def root_pem(self) -> str:
        return self.root.certificate.public_bytes(Encoding.PEM).decode()

    def chain(self, leaf: Signer | None = None) -> list[str]:
        signers = (leaf or self.leaf, self.intermediate, self.root)
        return [base64.b64encode(signer.certificate.public_bytes(Encoding.DER)).decode() for signer in signers]

    def sign(
        self, claims: dict[str, Any], *, leaf: Signer | None = None, by: ec.EllipticCurvePrivateKey | None = None
    ) -> str:
        """A compact JWS. `by` signs with another key than the leaf's, as a forger would."""
        signing = leaf or self.leaf
        return jwt.encode(claims, by or signing.key, algorithm="ES256", headers={"x5c": self.chain(leaf), "typ": None})

    def transaction(self, user: str, *, leaf: Signer | None = None, **changes: Any) -> str:
        """A signed transaction of `user`. A change to None omits the claim."""
        return self.sign(transaction_claims(user, **changes), leaf=leaf)

    def notification(self, event: str, transaction: str, **changes: Any) -> str:
        """A signed notification about a signed transaction."""
        environment = changes.pop("environment", "Production")
        data = {
            "appAppleId": changes.pop("appAppleId", APP_ID),
            "bundleId": changes.pop("bundleId", BUNDLE_ID),
            "bundleVersion": "1",
            "environment": environment,
            "signedTransactionInfo": transaction,
        }
        claims = {
            "notificationType": event,
            "notificationUUID": str(uuid.uuid4()),
            "version": "2.0",
            "signedDate": now_ms(),
            "data": data,
            **changes,
        }
        return self.sign(claims)

    def write_root(self, folder: Path) -> Path:
        path = folder / "root.cer"
        path.write_bytes(self.root.certificate.public_bytes(Encoding.DER))
        return path

    def _issue(
        self,
        name: str,
        curve: ec.EllipticCurve,
        issuer: Signer | None,
        mark: x509.ObjectIdentifier | None,
        *,
        leaf: bool = False,
    ) -> Signer:
        key = ec.generate_private_key(curve)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuing = issuer or Signer(key, None)  # type: ignore[arg-type]
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._from)
            .not_valid_after(self._until)
            .add_extension(x509.BasicConstraints(ca=not leaf, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuing.key.public_key()), critical=False)
            .add_extension(_usage(leaf=leaf), critical=True)
        )
        if self._ocsp_url is not None and issuer is not None:
            place = x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(self._ocsp_url)
            )
            builder = builder.add_extension(x509.AuthorityInformationAccess([place]), critical=False)
        if mark is not None:
            builder = builder.add_extension(x509.UnrecognizedExtension(mark, b"\x05\x00"), critical=False)
        return Signer(key, builder.sign(issuing.key, hashes.SHA384()))


def transaction_claims(user: str, **changes: Any) -> dict[str, Any]:
    """The claims of one genuine purchase by `user`, a UUID."""
    transaction_id = str(changes.pop("transactionId", uuid.uuid4().int % 10**15))
    moment = now_ms()
    claims = {
        "transactionId": transaction_id,
        "originalTransactionId": transaction_id,
        "bundleId": BUNDLE_ID,
        "productId": PRODUCT,
        "purchaseDate": moment,
        "originalPurchaseDate": moment,
        "quantity": 1,
        "type": "Non-Consumable",
        "appAccountToken": user,
        "inAppOwnershipType": "PURCHASED",
        "signedDate": moment,
        "environment": "Production",
        "transactionReason": "PURCHASE",
        "storefront": "DEU",
        "storefrontId": "143443",
        "price": 99000,
        "currency": "EUR",
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not None}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def _usage(*, leaf: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=leaf,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not leaf,
        crl_sign=not leaf,
        encipher_only=False,
        decipher_only=False,
    )
