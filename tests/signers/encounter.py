"""Encounter tokens for tests: genuine ones, and a table of hostile ones with the answer each must get."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.signers.keys import ORDER
from vyris.device_keys import base64url

HEADER: dict[str, Any] = {"alg": "ES256", "typ": "JWT"}


def raw_signature(key: ec.EllipticCurvePrivateKey, signed: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
    size = (key.curve.key_size + 7) // 8
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def twin(token: str) -> str:
    """The same token with the signature (r, n-s), which is also valid."""
    signed, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    s = ORDER - int.from_bytes(raw[32:], "big")
    return f"{signed}.{base64url(raw[:32] + s.to_bytes(32, 'big'))}"


def compact(header: dict[str, Any] | bytes, payload: dict[str, Any] | bytes, signature: Any) -> str:
    """A compact JWS; `signature` is a key, the bytes themselves, or a function of the signing input."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    signed = ".".join(base64url(part) for part in parts)
    if isinstance(signature, ec.EllipticCurvePrivateKey):
        signature = raw_signature(signature, signed.encode())
    elif callable(signature):
        signature = signature(signed.encode())
    return f"{signed}.{base64url(signature)}"


@dataclass
class Signer:
    """Signs tokens between two members, with its own key."""

    initiator: str
    receiver: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Genuine claims with changes. A change to `...` omits the claim."""
        whole = {
            "jti": str(uuid.uuid4()),
            "sub": self.initiator,
            "aud": self.receiver,
            "iat": int(time.time()),
            **changes,
        }
        return {name: value for name, value in whole.items() if value is not ...}

    def token(self, *, header: dict[str, Any] | None = None, **changes: Any) -> str:
        return compact({**HEADER, **(header or {})}, self.claims(**changes), self.key)

    @property
    def pem(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def hostile_tokens(signer: Signer, revoked: str) -> dict[str, str]:
    """Tokens that must be refused as UNAUTHORIZED, by what is wrong with them."""
    key, now = signer.key, int(time.time())
    genuine = signer.token()
    signed, _, _ = genuine.rpartition(".")
    p384, other = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP256R1())
    hs256 = {"alg": "HS256", "typ": "JWT"}
    jwk = {"kty": "EC", "crv": "P-256", **_coordinates(other)}
    unknown = str(uuid.uuid4())
    return {
        "not a token": "hello",
        "two parts": signed,
        "four parts": f"{genuine}.{genuine}",
        "white space around": f" {genuine}\n",
        "U+0000 inside": genuine[:20] + "\x00" + genuine[20:],
        "not ASCII": genuine[:-1] + "é",
        "JWS in JSON form": json.dumps({"payload": signed.split(".")[1], "signatures": []}),
        "encrypted form": "a.b.c.d.e",
        "huge": signer.token(jti="j", note="x" * 9_000),
        "alg none": compact({"alg": "none", "typ": "JWT"}, signer.claims(), b""),
        "alg none with a signature": compact({"alg": "none"}, signer.claims(), key),
        "alg None in capitals": compact({"alg": "NONE"}, signer.claims(), b""),
        "alg missing": compact({"typ": "JWT"}, signer.claims(), key),
        "alg a list": compact({"alg": ["ES256"]}, signer.claims(), key),
        "HS256 with the PEM as secret": compact(
            hs256, signer.claims(), lambda text: hmac.new(signer.pem, text, hashlib.sha256).digest()
        ),
        "HS256 named ES256": compact(
            HEADER, signer.claims(), lambda text: hmac.new(signer.pem, text, hashlib.sha256).digest()
        ),
        "ES384 on another curve": compact({"alg": "ES384"}, signer.claims(), p384),
        "ES256 said, P-384 used": compact(HEADER, signer.claims(), p384),
        "signed by another key": compact(HEADER, signer.claims(), other),
        "another key carried along as jwk": compact({**HEADER, "jwk": jwk}, signer.claims(), other),
        "another key by jku": compact({**HEADER, "jku": "http://127.0.0.1/keys"}, signer.claims(), other),
        "unknown kid": signer.token(header={"kid": "nobody"}),
        "kid a path": signer.token(header={"kid": "../../dev/null"}),
        "kid an injection": signer.token(header={"kid": "' OR 1=1 --"}),
        "kid a number": signer.token(header={"kid": 7}),
        "crit": signer.token(header={"crit": ["exp"], "exp": now + 60}),
        "unencoded payload": signer.token(header={"b64": False}),
        "typ of a device proof": signer.token(header={"typ": "dpop+jwt"}),
        "typ of an access token": signer.token(header={"typ": "at+jwt"}),
        "typ of a credential": signer.token(header={"typ": "application/vc+jwt"}),
        "typ a number": signer.token(header={"typ": 1}),
        "DER signature": compact(HEADER, signer.claims(), lambda text: key.sign(text, ec.ECDSA(hashes.SHA256()))),
        "no signature": f"{signed}.",
        "zero signature": f"{signed}.{base64url(bytes(64))}",
        "signature of ones": f"{signed}.{base64url(bytes([255] * 64))}",
        "r and s the order": f"{signed}.{base64url(ORDER.to_bytes(32, 'big') * 2)}",
        "65 bytes of signature": compact(HEADER, signer.claims(), lambda text: raw_signature(key, text) + b"\x00"),
        "== appended": genuine + "==",
        "stray bits in the last character": _stray_bits(genuine),
        "payload exchanged": _exchange_claims(genuine, signer.claims()),
        "header twice alg": compact(b'{"alg":"none","alg":"ES256"}', signer.claims(), key),
        "claims twice sub": compact(
            HEADER, json.dumps(signer.claims()).replace("{", f'{{"sub":"{unknown}",', 1).encode(), key
        ),
        "claims a list": compact(HEADER, b"[]", key),
        "claims not JSON": compact(HEADER, b"jti=1", key),
        "claims nested too deep": compact(HEADER, b'{"a":' * 3_000 + b"1" + b"}" * 3_000, key)[:8_000],
        "NaN": compact(HEADER, json.dumps(signer.claims(iat=float("nan"))).encode(), key),
        "jti missing": signer.token(jti=...),
        "jti empty": signer.token(jti=""),
        "jti a number": signer.token(jti=1),
        "jti of 10 kB": signer.token(jti="j" * 10_000),
        "jti with U+0000": signer.token(jti="a\x00b"),
        "jti half a surrogate": signer.token(jti="\ud800"),
        "sub missing": signer.token(sub=...),
        "sub no id": signer.token(sub="ada"),
        "sub an injection": signer.token(sub="'; DROP TABLE encounters; --"),
        "sub unknown": signer.token(sub=unknown),
        "sub revoked": signer.token(sub=revoked),
        "aud missing": signer.token(aud=...),
        "aud an empty array": signer.token(aud=[]),
        "aud names two memberships": signer.token(aud=[signer.receiver, unknown]),
        "aud holds a number": signer.token(aud=[signer.receiver, 7]),
        "aud null": signer.token(aud=None),
        "aud unknown": signer.token(aud=unknown),
        "aud revoked": signer.token(aud=revoked),
        "self-encounter": signer.token(aud=signer.initiator),
        "self-encounter in capitals": signer.token(aud=signer.initiator.upper()),
        "iat missing": signer.token(iat=...),
        "iat a string": signer.token(iat=str(now)),
        "iat true": signer.token(iat=True),
        "iat negative": signer.token(iat=-1),
        "iat in milliseconds": signer.token(iat=now * 1_000),
        "iat beyond all time": signer.token(iat=10**300),
        "iat in the future": signer.token(iat=now + 60),
        "iat too old": signer.token(iat=now - 301),
        "exp past": signer.token(iat=now - 20, exp=now - 1),
        "exp before iat": signer.token(exp=now - 400, iat=now),
        "exp far away": signer.token(exp=now + 10 * 365 * 86_400),
        "exp a string": signer.token(exp=str(now + 60)),
        "exp null": signer.token(exp=None),
        "nbf in the future": signer.token(nbf=now + 60),
        "lat without lng": signer.token(lat=1.0),
        "lat out of bounds": signer.token(lat=90.01, lng=0),
        "lng out of bounds": signer.token(lat=0, lng=-181),
        "lat a string": signer.token(lat="1", lng=1),
        "lat null": signer.token(lat=None, lng=None),
        "lat infinite": compact(
            HEADER, json.dumps(signer.claims(lat=float("inf"), lng=0)).replace("Infinity", "1e999").encode(), key
        ),
    }


def _coordinates(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    point = key.public_key().public_numbers()
    return {"x": base64url(point.x.to_bytes(32, "big")), "y": base64url(point.y.to_bytes(32, "big"))}


def _stray_bits(token: str) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


def _exchange_claims(token: str, claims: dict[str, Any]) -> str:
    header, _, signature = token.split(".")
    return f"{header}.{base64url(json.dumps(claims).encode())}.{signature}"
