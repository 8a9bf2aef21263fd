"""Verify one proof for one request. Pure: Postgres checks whether it is fresh and unused (`spending`)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import Message

from services.identity.device_proof.addresses import is_same_address
from services.identity.jose import (
    KeyRefused,
    PublicKey,
    Token,
    TokenRefused,
    numeric_date,
    public_key_from_jwk,
    read_token,
    replay_id,
    verify_token,
)
from vyris.device_proof import PROOF_TYP, Target, request_digest
from vyris.errors import Unauthorized

PROOF_LIMIT_BYTES: Final = 4096
_TYP: Final = frozenset({PROOF_TYP})


@dataclass(frozen=True, slots=True)
class VerifiedProof:
    """A proof that matches key and request.

    It counts once it is spent, within 60 s of `issued_at_s` (seconds since 1970).
    """

    thumbprint: str
    jti: str
    issued_at_s: float


def verify_proof(proof: str, *, thumbprint: str, targets: Collection[Target], request: Message) -> VerifiedProof:
    """Verify that the key named `thumbprint` signed `proof` for `request`, sent to one of `targets`.

    Raises `Unauthorized`; the message names the broken rule.
    """
    try:
        return _verify(proof, thumbprint, targets, request)
    except (TokenRefused, KeyRefused) as refusal:
        raise Unauthorized(f"Device proof: {refusal.message}") from None


def named_thumbprint(proof: str) -> str:
    """The thumbprint of the key inside the proof. The proof is not verified. Raises `Unauthorized`."""
    try:
        token = read_token(proof, typ=_TYP, max_bytes=PROOF_LIMIT_BYTES)
        return _embedded_key(token).thumbprint
    except (TokenRefused, KeyRefused) as refusal:
        raise Unauthorized(f"Device proof: {refusal.message}") from None


def _embedded_key(token: Token) -> PublicKey:
    jwk = token.header.get("jwk")
    if not isinstance(jwk, dict):
        raise TokenRefused("The header carries no jwk")
    return public_key_from_jwk(jwk)


def _verify(proof: str, thumbprint: str, targets: Collection[Target], request: Message) -> VerifiedProof:
    token = read_token(proof, typ=_TYP, max_bytes=PROOF_LIMIT_BYTES)
    key = _embedded_key(token)
    if key.thumbprint != thumbprint:
        raise TokenRefused("The key is not the expected device's")
    claims = token.claims
    jti, issued_at_s = replay_id(claims), numeric_date(claims, "iat")
    method, address = claims.get("htm"), claims.get("htu")
    if not any(method == target.htm and is_same_address(address, target.htu) for target in targets):
        raise TokenRefused("It was made for another method or address (htm, htu)")
    digest = claims.get("req")
    if digest != request_digest(request):
        raise TokenRefused("It was made for another request (req)")
    verify_token(token, key)
    return VerifiedProof(thumbprint, jti, issued_at_s)
