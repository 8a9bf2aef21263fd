"""Compact tokens (RFC 7515): parse cheaply first, verify last. ES256 (RFC 7518, 3.4), unless others are allowed.

`read_token` costs microseconds and refuses a wrong form; its result is *not yet verified*. `verify_token` costs about
80 µs of CPU. The twin signature (r, n-s) of a genuine token is valid too, so replay protection uses the key with `jti`,
never the token's text.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from jwt.algorithms import ECAlgorithm

from services.identity.jose.public_keys import PublicKey
from services.identity.jose.refusals import TokenRefused
from services.identity.jose.strict_json import NotStrict, decode_base64url, read_object

ES256: Final = "ES256"
PLAIN_JWT: Final[frozenset[str | None]] = frozenset({None, "jwt"})
"""The header's `typ` of a token without a specific type."""
ES256_ALONE: Final = frozenset({ES256})
SIGNATURE_BYTES: Final = 64
SEGMENTS: Final = 3
# Supported extensions. The payload of a JWT is always encoded (RFC 7797 section 7), so b64 changes nothing.
_UNDERSTOOD: Final = frozenset({"b64"})
_DER_SEQUENCE: Final = 0x30
_ES256: Final = ECAlgorithm(ECAlgorithm.SHA256)


@dataclass(frozen=True, slots=True)
class Token:
    """A well-formed token. Its signature is not verified yet."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signing_input: bytes
    signature: bytes

    @property
    def kid(self) -> str | None:
        """The header's key id, or None."""
        kid = self.header.get("kid")
        return kid if isinstance(kid, str) else None


def read_token(
    text: str,
    *,
    typ: frozenset[str | None],
    max_bytes: int,
    algorithms: frozenset[str] = ES256_ALONE,
) -> Token:
    """Parse a compact token. Raises `TokenRefused`.

    `typ` lists the accepted media types of the header, in lower case and without `application/`; None in it means that
    `typ` may be absent. `verify_token` verifies only ES256, not the other `algorithms`.
    """
    if len(text) > max_bytes:
        raise TokenRefused(f"The token is longer than {max_bytes} bytes")
    segments = text.split(".")
    if len(segments) != SEGMENTS or not text.isascii():
        raise TokenRefused("The token is not a compact JWS of three parts")
    header = _header(segments[0], typ, algorithms)
    signature = _decode(segments[2], "signature")
    if header["alg"] == ES256:
        _check_signature_form(signature)
    claims = _object(segments[1], "payload")
    return Token(header, claims, f"{segments[0]}.{segments[1]}".encode(), signature)


def verify_token(token: Token, key: PublicKey) -> dict[str, Any]:
    """Verify that `key` signed the token, and return its claims. Raises `TokenRefused`."""
    if token.header["alg"] != ES256 or not _ES256.verify(token.signing_input, key.key, token.signature):
        raise TokenRefused("The token's signature is not by the expected key")
    return token.claims


def find_signer(token: Token, keys: Iterable[PublicKey]) -> PublicKey | None:
    """Return the first of `keys` that signed the token, or None. Each key costs a verification, so limit them."""
    for key in keys:
        with suppress(TokenRefused):
            verify_token(token, key)
            return key
    return None


@lru_cache(maxsize=64)  # One signer's tokens share a header; with certificates it has 5 kB. No caller may change it.
def _header(segment: str, typ: frozenset[str | None], algorithms: frozenset[str]) -> dict[str, Any]:
    header = _object(segment, "header")
    _check_header(header, typ, algorithms)
    return header


def _check_header(header: dict[str, Any], typ: frozenset[str | None], algorithms: frozenset[str]) -> None:
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise TokenRefused(f"The token's alg is not {' or '.join(sorted(algorithms))}")
    _check_extensions(header)
    if _declared_type(header) not in typ:
        raise TokenRefused("The token's typ is not the expected one")
    if not isinstance(header.get("kid", ""), str):
        raise TokenRefused("The token's kid is not a string")


def _check_extensions(header: dict[str, Any]) -> None:
    """RFC 7515 section 4.1.11: members that crit lists must be present and supported. Others are ignored."""
    if header.get("b64", True) is not True:
        raise TokenRefused("The token's payload is not encoded (b64)")
    if "crit" not in header:
        return
    names = header["crit"]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise TokenRefused("The token's crit does not list extensions")
    if len(set(names)) < len(names) or not header.keys() >= set(names) or not set(names) <= _UNDERSTOOD:
        raise TokenRefused("The token's header names extensions that are not supported (crit)")


def _declared_type(header: dict[str, Any]) -> str | None:
    """The media type in lower case; `application/` may be left out (RFC 7515 section 4.1.9)."""
    typ = header.get("typ")
    if typ is None:
        return None
    if not isinstance(typ, str):
        raise TokenRefused("The token's typ is not a string")
    return typ.lower().removeprefix("application/")


def _check_signature_form(signature: bytes) -> None:
    if len(signature) == SIGNATURE_BYTES:
        return
    if signature[:1] == bytes([_DER_SEQUENCE]) and len(signature) > 1 and signature[1] == len(signature) - 2:
        raise TokenRefused("The signature is in DER; JWS wants the raw 64 bytes r and s (CryptoKit: rawRepresentation)")
    raise TokenRefused("The signature is not 64 bytes long")


def _object(segment: str, name: str) -> dict[str, Any]:
    try:
        return read_object(_decode(segment, name))
    except NotStrict as refusal:
        raise TokenRefused(f"The token's {name} {refusal}") from None


def _decode(segment: str, name: str) -> bytes:
    try:
        return decode_base64url(segment)
    except NotStrict as refusal:
        raise TokenRefused(f"The token's {name} {refusal}") from None
