"""Read the certificates and the key that sign passes, and check them.

The most common reason why a pass silently does not open is a certificate for another pass type. So everything is
compared at start.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509.oid import NameOID

from services.server.runtime.settings import expanded
from services.wallet.signing import SigningCredentials

PASS_TYPE_EXTENSION: Final = x509.ObjectIdentifier("1.2.840.113635.100.6.1.16")
WWDR_EXTENSION: Final = x509.ObjectIdentifier("1.2.840.113635.100.6.2.1")
COMMON_NAME_PREFIX: Final = "Pass Type ID: "
WWDR_COMMON_NAME: Final = "Apple Worldwide Developer Relations Certification Authority"
WWDR_GENERATION: Final = "G4"
# The mark of our own development intermediate; Apple's certificates never have it.
DEVELOPMENT_QUALIFIER: Final = "VYRIS development"

_STRING_TAGS: Final = (b"\x0c", b"\x16")  # UTF8String, IA5String


class CertificateProblem(Exception):
    """The signing certificate, key or intermediate is unusable. The text names the setting and what to do."""


def read_setting(name: str, value: str) -> bytes:
    r"""Return the content of setting `name`: PEM text (its newlines may be written `\n`), or the file that it names."""
    text = value.replace("\\n", "\n").strip()
    if text.startswith("-----BEGIN"):
        return text.encode() + b"\n"
    try:
        return expanded(Path(value.strip())).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise CertificateProblem(f"{name} is neither PEM text nor a file that can be read ({why})") from None


def load_credentials(
    *, certificate: bytes, private_key: bytes, passphrase: str | None, intermediate: bytes
) -> SigningCredentials:
    """Parse PEM or DER. Raises CertificateProblem, which names the setting."""
    return SigningCredentials(
        certificate=_certificate("PKPASS_CERTIFICATE", certificate),
        private_key=_private_key(private_key, passphrase),
        intermediate=_certificate("PKPASS_WWDR", intermediate),
    )


def check_credentials(
    credentials: SigningCredentials,
    *,
    pass_type_identifier: str,
    team_identifier: str,
    now: datetime,
    allow_development: bool,
) -> None:
    """Compare the credentials with the settings. Raises CertificateProblem, which lists every field that differs."""
    problems = [
        *_identity_problems(credentials.certificate, pass_type_identifier, team_identifier),
        *_chain_problems(credentials, allow_development),
        *_validity_problems(credentials, now),
    ]
    if problems:
        raise CertificateProblem("Passes signed with these settings would not open:\n- " + "\n- ".join(problems))


def _identity_problems(certificate: x509.Certificate, pass_type: str, team: str) -> Iterator[str]:
    fields = (
        ("common name", subject_value(certificate, NameOID.COMMON_NAME), COMMON_NAME_PREFIX + pass_type),
        ("extension 1.2.840.113635.100.6.1.16", _extension_text(certificate), pass_type),
    )
    for field, found, wanted in fields:
        if found != wanted:
            yield (
                f"PKPASS_CERTIFICATE's {field} is {found!r}, but PASS_TYPE_IDENTIFIER asks for {wanted!r}. "
                "Set PASS_TYPE_IDENTIFIER to the certificate's pass type, or use the certificate of this pass type."
            )
    unit = subject_value(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME)
    if unit != team:
        yield (
            f"PKPASS_CERTIFICATE's organizational unit is {unit!r}, but PASS_TEAM_IDENTIFIER is {team!r}. "
            "Set PASS_TEAM_IDENTIFIER to the certificate's team, or use this team's certificate."
        )


def _chain_problems(credentials: SigningCredentials, allow_development: bool) -> Iterator[str]:
    intermediate = credentials.intermediate
    if credentials.certificate.public_key() != credentials.private_key.public_key():
        yield (
            "PKPASS_KEY is not the key of PKPASS_CERTIFICATE. "
            "Use the key with which this certificate's signing request was made."
        )
    try:
        credentials.certificate.verify_directly_issued_by(intermediate)
    except (ValueError, TypeError, InvalidSignature):
        issuer = credentials.certificate.issuer.rfc4514_string()
        yield (
            f"PKPASS_CERTIFICATE was not issued by PKPASS_WWDR but by {issuer!r}. "
            f"Use the intermediate of exactly that name and generation (passes: {WWDR_GENERATION})."
        )
    name = subject_value(intermediate, NameOID.COMMON_NAME)
    if not allow_development and name != WWDR_COMMON_NAME:
        yield (
            f"PKPASS_WWDR's common name is {name!r}, not {WWDR_COMMON_NAME!r}. "
            'Use Apple\'s intermediate "Worldwide Developer Relations - G4".'
        )
    if not allow_development and is_development(intermediate):
        yield (
            "PKPASS_WWDR is the throw-away intermediate of a development stack, which no phone trusts. "
            "Use Apple's, and the certificate that Apple issued for your pass type."
        )


def _validity_problems(credentials: SigningCredentials, now: datetime) -> Iterator[str]:
    for setting, certificate in (
        ("PKPASS_CERTIFICATE", credentials.certificate),
        ("PKPASS_WWDR", credentials.intermediate),
    ):
        if now < certificate.not_valid_before_utc:
            first_day = f"{certificate.not_valid_before_utc:%Y-%m-%d}"
            yield f"{setting} is valid only from {first_day}. Check this machine's clock."
        if now > certificate.not_valid_after_utc:
            yield f"{setting} expired on {certificate.not_valid_after_utc:%Y-%m-%d}. Renew it at Apple."


def is_development(intermediate: x509.Certificate) -> bool:
    """Whether we made this intermediate ourselves."""
    return subject_value(intermediate, NameOID.DN_QUALIFIER) == DEVELOPMENT_QUALIFIER


def subject_value(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str | None:
    """Return the first value of `oid` in the subject, or None."""
    attributes = certificate.subject.get_attributes_for_oid(oid)
    return str(attributes[0].value) if attributes else None


def _extension_text(certificate: x509.Certificate) -> str | None:
    """Return the pass type that Apple writes into its extension (a DER string of fewer than 128 bytes)."""
    try:
        extension = certificate.extensions.get_extension_for_oid(PASS_TYPE_EXTENSION)
    except x509.ExtensionNotFound:
        return None
    raw = extension.value.public_bytes()
    tag, length, text = raw[:1], raw[1:2], raw[2:]
    if tag in _STRING_TAGS and length == bytes((len(text) % 256,)):
        return text.decode("utf-8", "replace")
    return raw.decode("utf-8", "replace")


def _certificate(setting: str, data: bytes) -> x509.Certificate:
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(data)
        return x509.load_der_x509_certificate(data)  # Apple hands out .cer files in DER.
    except ValueError:
        raise CertificateProblem(f"{setting} is not an X.509 certificate in PEM or DER") from None


def _private_key(data: bytes, passphrase: str | None) -> RSAPrivateKey:
    password = passphrase.encode() if passphrase else None
    load = (
        serialization.load_pem_private_key
        if data.lstrip().startswith(b"-----BEGIN")
        else serialization.load_der_private_key
    )
    try:
        key = load(data, password)
    except TypeError:
        advice = (
            "is not encrypted: leave PKPASS_PASSPHRASE empty" if password else "is encrypted: set PKPASS_PASSPHRASE"
        )
        raise CertificateProblem(f"PKPASS_KEY {advice}") from None
    except ValueError:
        raise CertificateProblem("PKPASS_KEY is not a private key, or PKPASS_PASSPHRASE is wrong") from None
    if not isinstance(key, RSAPrivateKey):
        raise CertificateProblem("PKPASS_KEY is not an RSA key; Apple signs only RSA keys for passes")
    return key
