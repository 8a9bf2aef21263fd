"""The form of a device's public key on the wire, and its name.

A key is a JWK (RFC 7517) with only the members that RFC 7638 requires. Its name is the thumbprint of that text:
base64url SHA-256, 43 characters.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

REQUIRED_MEMBERS: Final = ("crv", "kty", "x", "y")


def public_jwk(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    """The key's JWK: `crv`, `kty`, `x`, `y`, in this order."""
    members = ECAlgorithm.to_jwk(key, as_dict=True)
    return {name: str(members[name]) for name in REQUIRED_MEMBERS}


def canonical_jwk(jwk: Mapping[str, str]) -> str:
    """The text that RFC 7638 section 3 hashes: the required members in order, without white space."""
    return json.dumps({name: jwk[name] for name in REQUIRED_MEMBERS}, separators=(",", ":"))


def thumbprint(canonical: str) -> str:
    """The RFC 7638 thumbprint of a key's canonical JWK: 43 characters."""
    return base64url(hashlib.sha256(canonical.encode()).digest())


def base64url(raw: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
