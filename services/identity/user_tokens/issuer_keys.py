"""The keys of an identity provider, each with its one algorithm.

The key decides the algorithm: P-256 is ES256, RSA is RS256 (the providers' default), Ed25519 is EdDSA, which RFC 9864
calls Ed25519. The token's own `alg` is only compared with it. So a token cannot choose `none`, or an HMAC keyed with
the published key (RFC 8725 section 2.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError

from services.identity.jose import PRIVATE_MEMBERS, KeyRefused, Token, TokenRefused, public_key_from_jwk

ALGORITHMS: Final = frozenset({"ES256", "RS256", "EdDSA", "Ed25519"})
_SPELLINGS: Final = {"Ed25519": "EdDSA"}
# NIST SP 800-131A requires 2048 at least; above 4096 a verification is too expensive.
RSA_BITS: Final = range(2_048, 4_096 + 1)
RSA_EXPONENT: Final = 65_537

_Algorithm = ECAlgorithm | RSAAlgorithm | OKPAlgorithm
_VERIFIERS: Final[dict[str, _Algorithm]] = {
    "ES256": ECAlgorithm(ECAlgorithm.SHA256),
    "RS256": RSAAlgorithm(RSAAlgorithm.SHA256),
    "EdDSA": OKPAlgorithm(),
}


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A public key and its algorithm."""

    algorithm: str
    key: Any

    def verify(self, token: Token) -> dict[str, Any]:
        """Verify that this key signed the token, and return its claims. Raises TokenRefused."""
        algorithm = token.header["alg"]
        if _SPELLINGS.get(algorithm, algorithm) != self.algorithm:
            raise TokenRefused("The token's alg is not the one of the key that its kid names")
        if not _VERIFIERS[self.algorithm].verify(token.signing_input, self.key, token.signature):
            raise TokenRefused("The token's signature is not by the expected key")
        return token.claims


def verify_by_any(token: Token, keys: Sequence[IssuerKey]) -> dict[str, Any]:
    """Verify that one of `keys` (at least one) signed the token, and return its claims.

    A provider may publish two keys with one `kid` and different algorithms (RFC 7517 section 4.5). Raises TokenRefused
    with the refusal of the last key that has the token's algorithm.
    """
    refusal: TokenRefused | None = None
    for key in sorted(keys, key=lambda key: key.algorithm == token.header["alg"]):
        try:
            return key.verify(token)
        except TokenRefused as problem:
            refusal = problem
    raise refusal or TokenRefused("There is no key that could verify the token")


def issuer_key(jwk: dict[str, Any]) -> IssuerKey | None:
    """Parse a key of a provider's set. Return None for a kind that is not accepted. Raises KeyRefused."""
    if PRIVATE_MEMBERS & jwk.keys():
        raise KeyRefused("The set publishes a private key")
    match jwk.get("kty"), jwk.get("crv"), jwk.get("alg"):
        case "EC", "P-256", "ES256" | None:
            return IssuerKey("ES256", public_key_from_jwk(jwk).key)
        case "RSA", _, "RS256" | None:
            return _rsa_key(jwk)
        case "OKP", "Ed25519", "EdDSA" | "Ed25519" | None:
            return _ed25519_key(jwk)
    return None


def _rsa_key(jwk: dict[str, Any]) -> IssuerKey | None:
    try:
        key = RSAAlgorithm.from_jwk(jwk)
    except (InvalidKeyError, ValueError, TypeError, KeyError):
        raise KeyRefused("The JWK is not an RSA key") from None
    if not isinstance(key, RSAPublicKey) or key.key_size not in RSA_BITS:
        return None
    return IssuerKey("RS256", key) if key.public_numbers().e == RSA_EXPONENT else None


def _ed25519_key(jwk: dict[str, Any]) -> IssuerKey:
    try:
        key = OKPAlgorithm.from_jwk(jwk)
    except (InvalidKeyError, ValueError, TypeError, KeyError):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyRefused("The JWK is not an Ed25519 key")
    return IssuerKey("EdDSA", key)
