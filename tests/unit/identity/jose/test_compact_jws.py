"""Compact tokens: one spelling, one algorithm, one kind of signature."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.identity.jose import (
    PLAIN_JWT,
    TokenRefused,
    numeric_date,
    public_key_from_text,
    read_token,
    text_claim,
    verify_token,
)
from tests.signers.keys import ORDER

KEY = ec.generate_private_key(ec.SECP256R1())
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
PUBLIC = public_key_from_text(PEM)
CLAIMS = {"jti": "one", "iat": 1_700_000_000}
LIMIT_BYTES = 4_096


def encode(raw: bytes | dict[str, Any]) -> str:
    if isinstance(raw, dict):
        raw = json.dumps(raw).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def raw_signature(signing_input: bytes, key: ec.EllipticCurvePrivateKey = KEY) -> bytes:
    r, s = decode_dss_signature(key.sign(signing_input, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def sign(header: bytes | dict[str, Any], claims: bytes | dict[str, Any] = CLAIMS) -> str:
    signing_input = f"{encode(header)}.{encode(claims)}"
    return f"{signing_input}.{encode(raw_signature(signing_input.encode()))}"


def with_signature(change: Callable[[bytes, bytes], bytes]) -> str:
    head, _, tail = sign({"alg": "ES256"}).rpartition(".")
    signature = base64.urlsafe_b64decode(tail + "==")
    return f"{head}.{encode(change(head.encode(), signature))}"


def open_token(token: str) -> dict[str, Any]:
    return verify_token(read_token(token, typ=PLAIN_JWT, max_bytes=LIMIT_BYTES), PUBLIC)


GOOD = sign({"alg": "ES256", "typ": "JWT"})

HOSTILE_TOKENS = {
    "empty": ("", "three parts"),
    "two parts": (GOOD.rpartition(".")[0], "three parts"),
    "four parts": (GOOD + ".x", "three parts"),
    "letters beyond ASCII": ("é" + GOOD, "three parts"),
    "too long": (sign({"alg": "ES256"}, {"jti": "x" * 5000}), "longer than"),
    "padding appended": (GOOD + "==", "base64url without padding"),
    "white space appended": (GOOD + "\n", "base64url without padding"),
    "stray bits in the last letter": (GOOD[:-1] + ("B" if GOOD[-1] == "A" else chr(ord(GOOD[-1]) + 1)), "canonical"),
    "header no JSON": (sign(b"{"), "header is not a JSON object"),
    "header a list": (sign(b"[]"), "header is not a JSON object"),
    "header not UTF-8": (sign(b'{"alg":"ES256","x":"\xff"}'), "header is not a JSON object"),
    "alg twice": (sign(b'{"alg":"none","alg":"ES256"}'), "twice"),
    "alg none": (f"{encode({'alg': 'none'})}.{encode(CLAIMS)}.", "alg is not ES256"),
    "alg none signed": (sign({"alg": "none"}), "alg is not ES256"),
    "alg missing": (sign({}), "alg is not ES256"),
    "alg HS256": (jwt.encode(CLAIMS, "x" * 64, algorithm="HS256"), "alg is not ES256"),
    "alg ES384": (jwt.encode(CLAIMS, ec.generate_private_key(ec.SECP384R1()), algorithm="ES384"), "alg is not ES256"),
    "alg in lower case": (sign({"alg": "es256"}), "alg is not ES256"),
    "crit": (sign({"alg": "ES256", "crit": ["exp"]}), "crit"),
    "b64": (sign({"alg": "ES256", "b64": False}), "b64"),
    "typ of something else": (sign({"alg": "ES256", "typ": "dpop+jwt"}), "typ"),
    "typ a list": (sign({"alg": "ES256", "typ": ["JWT"]}), "typ"),
    "kid a number": (sign({"alg": "ES256", "kid": 1}), "kid"),
    "claims a list": (sign({"alg": "ES256"}, b"[]"), "payload is not a JSON object"),
    "claims with jti twice": (sign({"alg": "ES256"}, b'{"jti":"a","jti":"b"}'), "twice"),
    "claims with NaN": (sign({"alg": "ES256"}, b'{"iat":NaN}'), "payload is not a JSON object"),
    "claims with 1e999": (sign({"alg": "ES256"}, b'{"iat":1e999}'), "out of bounds"),
    "claims nested deeply": (sign({"alg": "ES256"}, b'{"a":' + b"[" * 2500), "not a JSON object"),
    "number of 2900 digits": (sign({"alg": "ES256"}, b'{"iat":' + b"9" * 2900 + b"}"), "out of bounds"),
    "DER signature": (
        with_signature(lambda head, _: KEY.sign(head, ec.ECDSA(hashes.SHA256()))),
        "rawRepresentation",
    ),
    "no signature": (GOOD.rpartition(".")[0] + ".", "not 64 bytes"),
    "63 bytes": (with_signature(lambda _, signature: signature[:63]), "not 64 bytes"),
    "zero signature": (with_signature(lambda *_: bytes(64)), "not by the expected key"),
    "r of the curve's order": (
        with_signature(lambda _, signature: ORDER.to_bytes(32, "big") + signature[32:]),
        "not by the expected key",
    ),
    "a flipped bit": (
        with_signature(lambda _, signature: bytes([signature[0] ^ 1]) + signature[1:]),
        "not by the expected key",
    ),
    "another key": (jwt.encode(CLAIMS, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256"), "expected key"),
}


@pytest.mark.parametrize("name", HOSTILE_TOKENS)
def test_a_hostile_token_is_refused_with_its_reason(name: str) -> None:
    token, reason = HOSTILE_TOKENS[name]
    with pytest.raises(TokenRefused) as refusal:
        numeric_date(open_token(token), "iat")
    assert reason in refusal.value.message


def test_a_genuine_token_opens() -> None:
    assert open_token(GOOD) == CLAIMS
    assert open_token(jwt.encode(CLAIMS, KEY, algorithm="ES256")) == CLAIMS


def test_typ_is_read_as_a_media_type() -> None:
    assert open_token(sign({"alg": "ES256", "typ": "application/jwt"})) == CLAIMS


def test_the_twin_signature_opens_the_same_claims_so_only_jti_can_guard_against_replay() -> None:
    def twin(_: bytes, signature: bytes) -> bytes:
        return signature[:32] + (ORDER - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")

    assert open_token(with_signature(twin)) == CLAIMS


@pytest.mark.parametrize("value", ["", 7, None, "x" * 513, "a\x00b", "a\nb", "\ud800", ["a"]])
def test_a_text_claim_is_short_printable_text(value: object) -> None:
    with pytest.raises(TokenRefused):
        text_claim({"jti": value}, "jti")


@pytest.mark.parametrize("value", [None, "1700000000", True, -1, 1e15, 10**40, {}])
def test_a_date_claim_is_a_number_that_a_calendar_can_show(value: object) -> None:
    with pytest.raises(TokenRefused):
        numeric_date({"iat": value}, "iat")
