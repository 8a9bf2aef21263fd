"""P-256 public keys: parsed from PEM or JWK, checked, named by thumbprint, stored in one form.

The stored form is the key's canonical JWK (RFC 7638 section 3), so the SHA-256 of the stored text is the key's
thumbprint.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from services.identity.jose.refusals import KeyRefused
from services.identity.jose.strict_json import NotStrict, decode_base64url, read_object
from vyris.bounds import limit_of
from vyris.device_keys import canonical_jwk, public_jwk, thumbprint
from vyris.mint.v1 import mint_pb2

KEY_TEXT_LIMIT: Final = limit_of(mint_pb2.Device, "public_key")
COORDINATE_BYTES: Final = 32

PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_PEM: Final = re.compile(
    r"\s*-----BEGIN PUBLIC KEY-----\r?\n([A-Za-z0-9+/=\r\n]+)\r?\n-----END PUBLIC KEY-----\s*", re.ASCII
)
_PRIVATE_PEM: Final = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY")
_PRIVATE_MESSAGE: Final = "This is a private key; send the public one, and never use this key again"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A checked P-256 public key. `canonical`: the stored form. `thumbprint`: its name, 43 characters of base64url."""

    key: ec.EllipticCurvePublicKey
    canonical: str
    thumbprint: str


def kid_of(jwk: Mapping[str, Any]) -> str | None:
    """The `kid` of a JWK, any string or None (RFC 7517 section 4.5). Raises `KeyRefused`."""
    kid = jwk.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise KeyRefused("A kid is not a string")
    return kid


def is_for_signatures(jwk: Mapping[str, Any]) -> bool:
    """Whether a JWK may verify signatures, by its `use` and `key_ops` (RFC 7517 sections 4.2 and 4.3)."""
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def public_key_from_text(text: str) -> PublicKey:
    """Parse a caller's key: PEM (SubjectPublicKeyInfo) or JWK as JSON text. Raises `KeyRefused`."""
    if not text.strip():
        raise KeyRefused("The public key is missing")
    if len(text) > KEY_TEXT_LIMIT:
        raise KeyRefused(f"The public key is longer than {KEY_TEXT_LIMIT} characters")
    if _PRIVATE_PEM.search(text):
        raise KeyRefused(_PRIVATE_MESSAGE)
    if not text.lstrip().startswith("{"):
        return _from_pem(text)
    try:
        members = read_object(text)
    except NotStrict as refusal:
        raise KeyRefused(f"The JWK {refusal}") from None
    return public_key_from_jwk(members)


def public_key_from_jwk(jwk: Mapping[str, Any]) -> PublicKey:
    """Check a JWK (RFC 7517, RFC 7518 section 6.2.1). Raises `KeyRefused`.

    Ignores members that are not about the key itself (`kid`, `x5c` and the like). `use`, `alg` and `key_ops` must allow
    ES256 if present.
    """
    if PRIVATE_MEMBERS & jwk.keys():
        raise KeyRefused(_PRIVATE_MESSAGE)
    if jwk.get("kty") != "EC" or jwk.get("crv") != "P-256":
        raise KeyRefused("The JWK is not a P-256 key (kty EC, crv P-256)")
    if jwk.get("alg", "ES256") != "ES256" or not is_for_signatures(jwk):
        raise KeyRefused("The JWK is not meant for ES256 signatures")
    return _from_point(_coordinate(jwk, "x"), _coordinate(jwk, "y"))


@lru_cache(maxsize=8192)  # About 1 kB each. A device's key is parsed once, not with each call.
def _from_point(x: int, y: int) -> PublicKey:
    try:
        return _public_key(ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key())
    except ValueError:
        raise KeyRefused("The JWK's point is not on the curve P-256") from None


@lru_cache(maxsize=8192)
def stored_public_key(canonical: str) -> PublicKey:
    """Parse a key's stored form. Raises `KeyRefused` if it was changed."""
    key = public_key_from_text(canonical)
    if key.canonical != canonical:
        raise KeyRefused("The stored key is not in canonical form")
    return key


def _from_pem(text: str) -> PublicKey:
    found = _PEM.fullmatch(text)
    if found is None:
        raise KeyRefused("The public key is neither a JWK nor exactly one PEM block of type PUBLIC KEY")
    try:
        der = base64.b64decode(re.sub(r"[\r\n]", "", found[1]), validate=True)
        key = load_der_public_key(der)
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        raise KeyRefused("The PEM block holds no valid public key") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyRefused("The public key is not a P-256 key")
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != der:
        raise KeyRefused("The PEM block holds more than an uncompressed P-256 key")
    return _public_key(key)


def _public_key(key: ec.EllipticCurvePublicKey) -> PublicKey:
    canonical = canonical_jwk(public_jwk(key))
    return PublicKey(key, canonical, thumbprint(canonical))


def _coordinate(jwk: Mapping[str, Any], name: str) -> int:
    text = jwk.get(name)
    if not isinstance(text, str):
        raise KeyRefused(f"The JWK's {name} is missing")
    try:
        raw = decode_base64url(text)
    except NotStrict as refusal:
        raise KeyRefused(f"The JWK's {name} {refusal}") from None
    if len(raw) != COORDINATE_BYTES:
        raise KeyRefused(f"The JWK's {name} is not {COORDINATE_BYTES} bytes long")
    return int.from_bytes(raw, "big")
