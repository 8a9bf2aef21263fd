"""Hostile keys and proofs at a real service: each gets its documented answer, never an internal error."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from jwt.utils import base64url_decode, base64url_encode, der_to_raw_signature, raw_to_der_signature

from tests.signers.keys import HOSTILE_KEYS, ORDER
from tests.stand_ins.reforge_service import METHODS, Device, World
from vyris.device_keys import public_jwk
from vyris.device_proof import grpc_target, request_digest
from vyris.errors import InvalidRequest, Unauthorized
from vyris.reforge.v1 import reforge_pb2


async def test_every_hostile_key_is_an_invalid_request(reforge: World) -> None:
    member = await reforge.member()
    assert len(HOSTILE_KEYS) >= 20
    for name, (text, _) in HOSTILE_KEYS.items():
        print(name)
        with pytest.raises(InvalidRequest):
            await reforge.init(member, Device("B"), new_public_key=text)


def changed_claims(old: Device, request: Any) -> dict[str, dict[str, Any]]:
    """The changed claims or header members (prefixed by `header.`), by what is wrong with them."""
    other = Device("other")
    return {
        "other method": {"htm": "GET"},
        "other address": {"htu": "/vyris.mint.v1.MintService/Mint"},
        "other body": {"req": request_digest(reforge_pb2.InitReforgeRequest(membership_id="other"))},
        "no body": {"req": None},
        "old iat": {"iat": time.time() - 61},
        "future iat": {"iat": time.time() + 3600},
        "iat of text": {"iat": "now"},
        "iat beyond time": {"iat": 1e300},
        "no jti": {"jti": None},
        "jti with U+0000": {"jti": "a\0b"},
        "jti with a lone surrogate": {"jti": "\ud800"},
        "jti as a list": {"jti": ["a"]},
        "plain JWT": {"header.typ": "JWT"},
        "crit": {"header.crit": ["req"]},
        "no key": {"header.jwk": None},
        "another key": {"header.jwk": public_jwk(other.key.public_key())},
        "private key": {"header.jwk": {**public_jwk(old.key.public_key()), "d": "AAAA"}},
        "key off the curve": {"header.jwk": {**public_jwk(old.key.public_key()), "x": "A" * 43}},
        "P-384 key": {"header.jwk": public_jwk(ec.generate_private_key(ec.SECP384R1()).public_key())},
        "key as text": {"header.jwk": "key"},
    }


def sign_proof(old: Device, request: Any, changes: dict[str, Any]) -> str:
    claims = {
        "htm": "POST",
        "htu": grpc_target(METHODS["InitReforge"]).htu,
        "iat": int(time.time()),
        "jti": f"jti-{time.monotonic_ns()}",
        "req": request_digest(request),
    }
    header: dict[str, Any] = {"typ": "dpop+jwt", "jwk": public_jwk(old.key.public_key())}
    for name, value in changes.items():
        (header if name.startswith("header.") else claims)[name.removeprefix("header.")] = value
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, old.key, algorithm="ES256", headers=header)


async def test_every_hostile_proof_is_unauthorized(reforge: World) -> None:
    old, new = Device("A"), Device("B")
    request = reforge_pb2.InitReforgeRequest(
        membership_id=await reforge.member(old),
        user_id="ada",
        new_device_id=new.name,
        new_public_key=new.pem,
        old_device_id="A",
    )
    genuine = sign_proof(old, request, {})
    cases = {name: sign_proof(old, request, changes) for name, changes in changed_claims(old, request).items()}
    cases["signed by another"] = jwt.encode(
        jwt.decode(genuine, options={"verify_signature": False}),
        Device("other").key,
        algorithm="ES256",
        headers={"typ": "dpop+jwt", "jwk": public_jwk(old.key.public_key())},
    )
    cases["padded"] = genuine + "=="
    cases["cut"] = genuine[:-10]
    cases["unsigned"] = genuine.rpartition(".")[0] + "."
    cases["two in one"] = f"{genuine}, {genuine}"
    cases["DER signature"] = with_der_signature(genuine, old)
    assert len(cases) >= 20
    for name, proof in cases.items():
        print(name)
        with pytest.raises(Unauthorized):
            await reforge.call("InitReforge", request, proof)
    assert (await reforge.call("InitReforge", request, genuine)).status == "PENDING"
    for again in (genuine, twin(genuine, old)):
        with pytest.raises(Unauthorized, match="used before"):
            await reforge.call("InitReforge", request, again)


def with_der_signature(token: str, device: Device) -> str:
    head, _, signature = token.rpartition(".")
    der = raw_to_der_signature(base64url_decode(signature), device.key.curve)
    return f"{head}.{base64url_encode(der).decode()}"


def twin(token: str, device: Device) -> str:
    """The same proof with (r, n-s): also valid, and it counts as the same use."""
    head, _, signature = token.rpartition(".")
    r, s = decode_dss_signature(raw_to_der_signature(base64url_decode(signature), device.key.curve))
    raw = der_to_raw_signature(encode_dss_signature(r, ORDER - s), device.key.curve)
    return f"{head}.{base64url_encode(raw).decode()}"
