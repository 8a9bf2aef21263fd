"""A throw-away certificate chain for development, with Apple's names and extensions and our keys.

Written into the keys folder on first use: `pass_root.pem` (the trusted root), `pass_wwdr.pem`, `pass_certificate.pem`,
`pass_key.pem`. The keys of the root and of the intermediate are not stored, so they cannot issue other certificates.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.identity.development_keys import lock_key
from services.server.runtime.whole_file import write_whole
from services.wallet.certificates import (
    COMMON_NAME_PREFIX,
    DEVELOPMENT_QUALIFIER,
    PASS_TYPE_EXTENSION,
    WWDR_COMMON_NAME,
    WWDR_EXTENSION,
    WWDR_GENERATION,
    CertificateProblem,
    check_credentials,
    load_credentials,
)
from services.wallet.signing import SigningCredentials

ROOT_FILE: Final = "pass_root.pem"
FILES: Final = {"certificate": "pass_certificate.pem", "private_key": "pass_key.pem", "intermediate": "pass_wwdr.pem"}
VALID_DAYS: Final = 3650
_PASS_USAGE: Final = x509.ObjectIdentifier("1.2.840.113635.100.4.14")
_ASN1_UTF8_TAG: Final = 0x0C
_ASN1_NULL: Final = b"\x05\x00"


def development_credentials(keys: Path, *, pass_type_identifier: str, team_identifier: str) -> SigningCredentials:
    """Return the credentials in folder `keys`; make them if there are none for this pass type and team."""
    with lock_key(keys, "pass_keys"):  # Replicas that start at the same time share one chain.
        try:
            credentials = _read(keys)
            check_credentials(
                credentials,
                pass_type_identifier=pass_type_identifier,
                team_identifier=team_identifier,
                now=datetime.now(UTC),
                allow_development=True,
            )
        except (FileNotFoundError, CertificateProblem):
            _make(keys, pass_type_identifier, team_identifier)
            credentials = _read(keys)
    return credentials


def _read(keys: Path) -> SigningCredentials:
    if not (keys / ROOT_FILE).exists():
        raise FileNotFoundError(ROOT_FILE)
    contents = {part: (keys / name).read_bytes() for part, name in FILES.items()}
    return load_credentials(passphrase=None, **contents)


@dataclass(frozen=True)
class _Authority:
    name: x509.Name
    key: rsa.RSAPrivateKey


def _make(keys: Path, pass_type: str, team: str) -> None:
    root = _Authority(_name("Apple Root CA", unit="Apple Certification Authority"), _key())
    wwdr = _Authority(_name(WWDR_COMMON_NAME, unit=WWDR_GENERATION, qualifier=DEVELOPMENT_QUALIFIER), _key())
    leaf = _Authority(_leaf_name(pass_type, team), _key())
    key_pem = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_whole(keys / FILES["private_key"], key_pem)
    write_whole(keys / FILES["certificate"], _pem(_leaf(leaf, wwdr, pass_type)))
    write_whole(keys / FILES["intermediate"], _pem(_authority(wwdr, root, path_length=0)))
    write_whole(keys / ROOT_FILE, _pem(_authority(root, root, path_length=None)))


def _authority(subject: _Authority, issuer: _Authority, *, path_length: int | None) -> x509.Certificate:
    builder = _builder(subject, issuer).add_extension(x509.BasicConstraints(True, path_length), critical=True)
    builder = builder.add_extension(_key_usage(authority=True), critical=True)
    if subject is not issuer:
        builder = builder.add_extension(x509.UnrecognizedExtension(WWDR_EXTENSION, _ASN1_NULL), critical=False)
    return builder.sign(issuer.key, SHA256())


def _leaf(subject: _Authority, issuer: _Authority, pass_type: str) -> x509.Certificate:
    text = pass_type.encode()
    marked = bytes((_ASN1_UTF8_TAG, len(text))) + text
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, _PASS_USAGE])
    return (
        _builder(subject, issuer)
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(usages, critical=False)
        .add_extension(x509.UnrecognizedExtension(PASS_TYPE_EXTENSION, marked), critical=False)
        .sign(issuer.key, SHA256())
    )


def _builder(subject: _Authority, issuer: _Authority) -> x509.CertificateBuilder:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    public_key = subject.key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject.name)
        .issuer_name(issuer.name)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(yesterday)
        .not_valid_after(yesterday + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str, *, unit: str, qualifier: str | None = None) -> x509.Name:
    parts = [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Apple Inc."),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
    ]
    if qualifier is not None:
        parts.append(x509.NameAttribute(NameOID.DN_QUALIFIER, qualifier))
    return x509.Name(parts)


def _leaf_name(pass_type: str, team: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.USER_ID, pass_type),
            x509.NameAttribute(NameOID.COMMON_NAME, COMMON_NAME_PREFIX + pass_type),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, team),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "VYRIS development"),
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
        ]
    )


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
