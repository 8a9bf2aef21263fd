"""Compact tokens (RFC 7515), read cheaply first and verified last; ES256 (RFC 7518, 3.4) unless others are named.

`read_token` costs microseconds and refuses everything that is wrong in form;
what it returns is *not yet proven*. `verify_token` costs about 80 µs of CPU.
The twin signature (r, n-s) of a genuine token verifies too, so what guards
against replay is the key with `jti`, never the token's text.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from jwt.algorithms import ECAlgorithm

from services.jose.public_keys import PublicKey
from services.jose.refusals import TokenRefused
from services.jose.strict_json import NotStrict, decode_base64url, read_object

ES256: Final = "ES256"
PLAIN_JWT: Final[frozenset[str | None]] = frozenset({None, "jwt"})
"""The header's `typ` of a token that has no type of its own."""
ES256_ALONE: Final = frozenset({ES256})
SIGNATURE_BYTES: Final = 64
SEGMENTS: Final = 3
# Extensions that are understood. The payload of a JWT is always encoded (RFC 7797 section 7), so b64 says what is so.
_UNDERSTOOD: Final = frozenset({"b64"})
_DER_SEQUENCE: Final = 0x30
_ES256: Final = ECAlgorithm(ECAlgorithm.SHA256)


@dataclass(frozen=True, slots=True)
class Token:
    """A token that is well formed and whose signature nobody has checked yet."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signing_input: bytes
    signature: bytes

    @property
    def kid(self) -> str | None:
        """Key id of the header, None where there is none."""
        kid = self.header.get("kid")
        return kid if isinstance(kid, str) else None


def read_token(
    text: str,
    *,
    typ: frozenset[str | None],
    max_bytes: int,
    algorithms: frozenset[str] = ES256_ALONE,
) -> Token:
    """Take a compact token apart. Raises `TokenRefused`.

    `typ` lists the media types accepted in the header, in lower case and
    without `application/`; None in it means that `typ` may be absent. A token
    that names another of `algorithms` than ES256 is not for `verify_token`.
    """
    if len(text) > max_bytes:
        raise TokenRefused(f"The token is longer than {max_bytes} bytes")
    segments = text.split(".")
    if len(segments) != SEGMENTS or not text.isascii():
        raise TokenRefused("The token is not a compact JWS of three parts")
    header = _header(segments[0], typ, algorithms)
    signature = _decoded(segments[2], "signature")
    if header["alg"] == ES256:
        _check_signature_form(signature)
    claims = _object(segments[1], "payload")
    return Token(header, claims, f"{segments[0]}.{segments[1]}".encode(), signature)


def verify_token(token: Token, key: PublicKey) -> dict[str, Any]:
    """The token's claims, now proven to be signed by `key`. Raises `TokenRefused`."""
    if token.header["alg"] != ES256 or not _ES256.verify(token.signing_input, key.key, token.signature):
        raise TokenRefused("The token's signature is not by the expected key")
    return token.claims


@lru_cache(maxsize=64)  # One signer's tokens share a header; one that brings certificates is 5 kB. Nobody changes it.
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
    """RFC 7515 section 4.1.11: what crit lists must be there and understood. What it does not list is ignored."""
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
        return read_object(_decoded(segment, name))
    except NotStrict as refusal:
        raise TokenRefused(f"The token's {name} {refusal}") from None


def _decoded(segment: str, name: str) -> bytes:
    try:
        return decode_base64url(segment)
    except NotStrict as refusal:
        raise TokenRefused(f"The token's {name} {refusal}") from None
