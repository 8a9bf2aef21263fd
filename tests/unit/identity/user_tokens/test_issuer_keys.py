"""The provider's keys: each verifies with one algorithm, for any header of a token."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from services.identity.jose import KeyRefused
from services.identity.jwks import PublishedKeys
from services.identity.user_tokens import UserTokens
from services.identity.user_tokens.issuer_keys import issuer_key
from vyris.device_keys import base64url
from vyris.errors import Unauthorized

ISSUER = "https://id.test"
RSA_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
KEYS: dict[str, Any] = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "RS256": RSA_KEY,
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
JWKS: dict[str, dict[str, Any]] = {
    "ES256": ECAlgorithm.to_jwk(KEYS["ES256"].public_key(), as_dict=True),
    "RS256": RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True),
    "EdDSA": OKPAlgorithm.to_jwk(KEYS["EdDSA"].public_key(), as_dict=True),
}


def token(algorithm: str, key: Any, kid: str) -> str:
    claims = {"iss": ISSUER, "sub": "ada", "exp": int(time.time()) + 600}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})


@pytest.fixture
def tokens(tmp_path: Path) -> UserTokens:
    """A provider with a key of each kind, named after its algorithm."""
    file = tmp_path / "jwks.json"
    # As providers publish them: one with its algorithm, one with only its use, one with neither.
    named = [JWKS["ES256"] | {"use": "sig", "alg": "ES256"}, JWKS["RS256"] | {"use": "sig"}, JWKS["EdDSA"]]
    file.write_text(json.dumps({"keys": [jwk | {"kid": kid} for kid, jwk in zip(JWKS, named, strict=True)]}))
    return UserTokens(PublishedKeys(str(file), "the identity provider", issuer_key), ISSUER, "")


@pytest.mark.parametrize("algorithm", KEYS)
async def test_algorithms_that_providers_sign_with_are_accepted(tokens: UserTokens, algorithm: str) -> None:
    assert await tokens.subject([f"Bearer {token(algorithm, KEYS[algorithm], algorithm)}"]) == "ada"


@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("kid", KEYS)
async def test_a_key_verifies_with_its_own_algorithm_alone(tokens: UserTokens, algorithm: str, kid: str) -> None:
    if algorithm == kid:
        return
    with pytest.raises(Unauthorized, match="alg"):
        await tokens.subject([f"Bearer {token(algorithm, KEYS[algorithm], kid)}"])


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
async def test_the_right_key_with_another_algorithm_is_refused(tokens: UserTokens, algorithm: str) -> None:
    with pytest.raises(Unauthorized, match="alg"):
        await tokens.subject([f"Bearer {token(algorithm, RSA_KEY, 'RS256')}"])


@pytest.mark.parametrize("kid", KEYS)
async def test_a_published_key_is_no_secret_to_sign_with(tokens: UserTokens, kid: str) -> None:
    """The oldest forgery: an HMAC keyed with the public key. PyJWT refuses to make one, so it is made by hand."""
    head, payload, _ = token(kid, KEYS[kid], kid).split(".")
    for algorithm in ("HS256", "none", "hs256", "None"):
        head = base64url(json.dumps({"alg": algorithm, "kid": kid}).encode())
        for form in (
            KEYS[kid].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            KEYS[kid].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            json.dumps(JWKS[kid]).encode(),
        ):
            mac = hmac.digest(form, f"{head}.{payload}".encode(), hashlib.sha256)
            if algorithm.lower() == "none":
                mac = b""
            with pytest.raises(Unauthorized):
                await tokens.subject([f"Bearer {head}.{payload}.{base64url(mac)}"])


@pytest.mark.parametrize("algorithm", KEYS)
async def test_a_strangers_key_of_the_same_kind_proves_nothing(tokens: UserTokens, algorithm: str) -> None:
    strangers: dict[str, Any] = {
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "RS256": rsa.generate_private_key(public_exponent=65_537, key_size=2_048),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }
    with pytest.raises(Unauthorized, match="signature"):
        await tokens.subject([f"Bearer {token(algorithm, strangers[algorithm], algorithm)}"])


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "x": "c2VjcmV0"},
        JWKS["RS256"] | {"alg": "RS512"},
        JWKS["RS256"] | {"alg": "RSA-OAEP"},
        JWKS["RS256"] | {"e": "Aw"},
        JWKS["RS256"] | {"n": base64url((1 << 1_023 | 1).to_bytes(128, "big"))},
        JWKS["RS256"] | {"n": base64url((1 << 8_191 | 1).to_bytes(1_024, "big"))},
        JWKS["ES256"] | {"alg": "ES384"},
        JWKS["ES256"] | {"crv": "P-384"},
        {"kty": "OKP", "crv": "X25519", "x": JWKS["EdDSA"]["x"]},
        {},
    ],
)
def test_other_kinds_and_weak_keys_are_skipped(jwk: dict[str, Any]) -> None:
    assert issuer_key(jwk) is None


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "k": "c2VjcmV0"},
        RSAAlgorithm.to_jwk(RSA_KEY, as_dict=True),
        {"kty": "RSA", "n": 7, "e": "AQAB"},
        {"kty": "RSA"},
        JWKS["ES256"] | {"x": "AAAA"},
        JWKS["EdDSA"] | {"x": "AAAA"},
        {"kty": "OKP", "crv": "Ed25519"},
    ],
)
def test_a_broken_or_private_key_is_refused_with_its_set(jwk: dict[str, Any]) -> None:
    with pytest.raises(KeyRefused):
        issuer_key(jwk)
