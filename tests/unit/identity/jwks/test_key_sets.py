"""Key sets as others publish them: which keys can be used, and how many are ignored. RFC 7517 section 5."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from services.identity.jwks import KeySetUnreadable, p256_key, read_key_set
from services.identity.jwks.key_set import CANDIDATES_LIMIT, KEYS_LIMIT, SET_LIMIT_BYTES
from services.identity.user_tokens.issuer_keys import issuer_key
from tests.signers.keys import coordinate
from vyris.device_keys import base64url

PRIVATE = ec.generate_private_key(ec.SECP256R1())
EC: dict[str, Any] = ECAlgorithm.to_jwk(PRIVATE.public_key(), as_dict=True)
OTHER_EC: dict[str, Any] = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
RSA: dict[str, Any] = RSAAlgorithm.to_jwk(
    rsa.generate_private_key(public_exponent=65_537, key_size=2_048).public_key(), as_dict=True
)
ED: dict[str, Any] = OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate().public_key(), as_dict=True)
del RSA["key_ops"]
# Additional members, such as certificates, do not change the key.
GOOD = EC | {"kid": "good", "use": "sig", "alg": "ES256", "x5t": "abc", "x5c": ["MIIB"], "exp": 1, "nested": {"a": []}}


def p256(number: int) -> dict[str, Any]:
    """A different key for each number."""
    return ECAlgorithm.to_jwk(ec.derive_private_key(number + 1, ec.SECP256R1()).public_key(), as_dict=True)


UNUSABLE: dict[str, Any] = {
    "encryption by alg": EC | {"kid": "bad", "alg": "ECDH-ES"},
    "encryption by use": EC | {"kid": "bad", "use": "enc"},
    "RSA encryption": RSA | {"kid": "bad", "alg": "RSA-OAEP-256", "use": "enc"},
    "key_ops without verify": EC | {"kid": "bad", "key_ops": ["deriveKey"]},
    "RSA with key_ops without verify": RSA | {"kid": "bad", "key_ops": ["encrypt"]},
    "Ed25519 with key_ops without verify": ED | {"kid": "bad", "key_ops": []},
    "key_ops no array": EC | {"kid": "bad", "key_ops": "verify"},
    "use no string": EC | {"kid": "bad", "use": ["sig"]},
    "short coordinate": EC | {"kid": "bad", "x": "AAAA"},
    "coordinate off the curve": EC | {"kid": "bad", "x": coordinate(5)},
    "coordinate no base64url": EC | {"kid": "bad", "y": "++++"},
    "coordinate missing": {name: value for name, value in EC.items() if name != "y"} | {"kid": "bad"},
    "coordinate a number": EC | {"kid": "bad", "x": 7},
    "RSA of 1024 bits": RSA | {"kid": "bad", "n": base64url((1 << 1_023 | 1).to_bytes(128, "big"))},
    "RSA of 8192 bits": RSA | {"kid": "bad", "n": base64url((1 << 8_191 | 1).to_bytes(1_024, "big"))},
    "RSA with exponent 3": RSA | {"kid": "bad", "e": "Aw"},
    "RSA without a modulus": {"kty": "RSA", "e": "AQAB", "kid": "bad"},
    "RSA with another algorithm": RSA | {"kid": "bad", "alg": "PS512"},
    "another curve": EC | {"kid": "bad", "crv": "secp256k1"},
    "X25519": ED | {"kid": "bad", "crv": "X25519"},
    "short Ed25519": ED | {"kid": "bad", "x": "AAAA"},
    "unknown kty": {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA", "kid": "bad"},
    "kty no string": EC | {"kid": "bad", "kty": 7},
    "no kty": {"kid": "bad"},
    "kid a number": EC | {"kid": 7},
    "kid an array": EC | {"kid": ["bad"]},
    "a private EC key": ECAlgorithm.to_jwk(PRIVATE, as_dict=True) | {"kid": "bad"},
    "a symmetric key": {"kty": "oct", "k": "c2VjcmV0", "kid": "bad", "alg": "HS256"},
    "no object": "bad",
    "null": None,
    "an array": [EC],
}


@pytest.mark.parametrize("name", UNUSABLE)
@pytest.mark.parametrize("read_key", [p256_key, issuer_key])
@pytest.mark.parametrize("first", [True, False])
def test_an_unusable_key_is_lost_alone(name: str, read_key: Any, first: bool) -> None:
    keys = [UNUSABLE[name], GOOD] if first else [GOOD, UNUSABLE[name]]
    found = read_key_set(json.dumps({"keys": keys}).encode(), read_key)
    assert list(found.keys) == ["good"]
    assert len(found.ignored) == 1
    assert not found.is_unusable
    alone = read_key_set(json.dumps({"keys": [UNUSABLE[name]]}).encode(), read_key)
    assert alone.is_unusable


def test_a_member_named_twice_costs_that_key_alone() -> None:
    raw = '{"keys": [{"kty": "EC", "kid": "bad", "kid": "bad"}, %s]}' % json.dumps(GOOD)  # noqa: UP031 - braces
    found = read_key_set(raw.encode(), p256_key)
    assert (list(found.keys), len(found.ignored)) == (["good"], 1)


def test_one_kid_may_name_keys_of_different_algorithms() -> None:
    keys = [EC | {"kid": "k"}, RSA | {"kid": "k"}, ED | {"kid": "k", "alg": "Ed25519"}]
    found = read_key_set(json.dumps({"keys": keys}).encode(), issuer_key)
    assert [key.algorithm for key in found.candidates("k")] == ["ES256", "RS256", "EdDSA"]
    assert not found.ignored


def test_two_keys_of_one_kid_and_algorithm_are_both_tried_and_copies_are_one() -> None:
    keys = [EC | {"kid": "k"}, OTHER_EC | {"kid": "k"}, EC | {"kid": "k"}]
    assert len(read_key_set(json.dumps({"keys": keys}).encode(), p256_key).candidates("k")) == 2


def test_of_one_kid_few_keys_are_kept() -> None:
    keys = [p256(number) | {"kid": "k"} for number in range(CANDIDATES_LIMIT + 3)]
    found = read_key_set(json.dumps({"keys": keys}).encode(), p256_key)
    assert (len(found.candidates("k")), len(found.ignored)) == (CANDIDATES_LIMIT, 3)


def test_keys_without_a_name_serve_tokens_without_one() -> None:
    found = read_key_set(json.dumps({"keys": [EC, OTHER_EC, p256(1) | {"kid": "named"}]}).encode(), p256_key)
    assert len(found.candidates(None)) == 2
    assert len(found.candidates("named")) == 1


def test_a_token_without_a_name_is_tried_with_few_named_keys_and_not_with_many() -> None:
    def set_of_named_keys(count: int) -> int:
        keys = [p256(number) | {"kid": str(number)} for number in range(count)]
        return len(read_key_set(json.dumps({"keys": keys}).encode(), p256_key).candidates(None))

    assert [set_of_named_keys(count) for count in (0, 1, CANDIDATES_LIMIT, CANDIDATES_LIMIT + 1)] == [
        0,
        1,
        CANDIDATES_LIMIT,
        0,
    ]


@pytest.mark.parametrize("kid", ["", "a" * 2_000, "schlüssel", "https://id.test/keys#1", "\t"])
def test_a_name_is_any_string(kid: str) -> None:
    assert read_key_set(json.dumps({"keys": [EC | {"kid": kid}]}).encode(), p256_key).candidates(kid)


def test_a_huge_set_is_bounded() -> None:
    keys = [p256(number) | {"kid": str(number)} for number in range(KEYS_LIMIT + 5)]
    found = read_key_set(json.dumps({"keys": keys}).encode(), p256_key)
    assert (len(found.keys), len(found.ignored)) == (KEYS_LIMIT, 5)


def test_an_empty_set_is_a_set() -> None:
    found = read_key_set(b'{"keys": [], "note": 1e999}', p256_key)
    assert not found.keys
    assert not found.is_unusable


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf", b" \r\n"])
def test_a_byte_order_mark_or_white_space_may_come_first(prefix: bytes) -> None:
    assert read_key_set(prefix + json.dumps({"keys": [GOOD]}).encode(), p256_key).candidates("good")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"keys": 1}',
        b'{"keys": {}}',
        b'{"keys": [], "keys": []}',
        b"\xff",
        b"<html>",
        b"[" * 100_000,
        b" " * (SET_LIMIT_BYTES + 1),
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_a_malformed_set_leaves_the_last_one_in_force(raw: bytes) -> None:
    with pytest.raises(KeySetUnreadable):
        read_key_set(raw, p256_key)
