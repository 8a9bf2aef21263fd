"""Proofs that devices send: which ones count, and the errors for the others."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from services.identity.device_proof import ClaimedProof, DeviceProofMode, DeviceProofs, VerifiedProof, claimed_proof
from services.identity.jose import public_key_from_jwk
from services.server.runtime.call import Call
from vyris.device_keys import public_jwk
from vyris.device_proof import Target, build_proof, grpc_target, http_target, request_digest
from vyris.encounter.v1.encounter_pb2 import DESCRIPTOR as ENCOUNTER
from vyris.encounter.v1.encounter_pb2 import ListEncountersRequest
from vyris.errors import Unauthorized
from vyris.wallet.v1.wallet_pb2 import DESCRIPTOR as WALLET
from vyris.wallet.v1.wallet_pb2 import IssuePassRequest

BASE = "https://club.example"
ISSUE_PASS = WALLET.services_by_name["WalletService"].methods_by_name["IssuePass"]
LIST_ENCOUNTERS = ENCOUNTER.services_by_name["EncounterService"].methods_by_name["ListEncounters"]
KEY = ec.generate_private_key(ec.SECP256R1())
JWK = public_jwk(KEY.public_key())
THUMBPRINT = public_key_from_jwk(JWK).thumbprint
REQUEST = IssuePassRequest(membership_id="0d6cf3c6-3b0a-4f3e-9d3f-1f0f5f0d8a11", user_id="ada")
TARGET = Target("POST", f"{BASE}/issue-pass")
NOW_S = 1_700_000_000


def claims(**changes: Any) -> dict[str, Any]:
    whole = {"htm": "POST", "htu": TARGET.htu, "iat": NOW_S, "jti": "one", "req": request_digest(REQUEST), **changes}
    return {name: value for name, value in whole.items() if value is not None}


def sign(payload: dict[str, Any], *, key: ec.EllipticCurvePrivateKey = KEY, **header: Any) -> str:
    return jwt.encode(payload, key, algorithm="ES256", headers={"typ": "dpop+jwt", "jwk": JWK, **header})


def required(proof: str | None, mode: DeviceProofMode = DeviceProofMode.WHEN_ENROLLED) -> VerifiedProof | None:
    return DeviceProofs(mode, BASE).required(ClaimedProof(proof, ISSUE_PASS, REQUEST), enrolled_thumbprint=THUMBPRINT)


class Metadata:
    """The part of an RPC in which a proof is looked for."""

    def __init__(self, proofs: tuple[str, ...]) -> None:
        self._proofs = proofs

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return tuple(("dpop", proof) for proof in self._proofs)

    def time_remaining(self) -> float:
        return 1.0


def call_with(*proofs: str) -> Call:
    return Call(Metadata(proofs), ISSUE_PASS, "/vyris.wallet.v1.WalletService/IssuePass", 1.0)  # type: ignore[arg-type]


OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
PRIVATE_JWK = dict(ECAlgorithm.to_jwk(KEY, as_dict=True))
P384 = ec.generate_private_key(ec.SECP384R1())
OTHER_REQUEST = IssuePassRequest(membership_id=REQUEST.membership_id, user_id="eve")

HOSTILE_PROOFS = {
    "missing": (None, "is required"),
    "empty": ("", "three parts"),
    "an API key": ("Bearer 12345", "three parts"),
    "two joined by a comma": (f"{sign(claims())}, {sign(claims())}", "three parts"),
    "plain JWT": (sign(claims(), typ="JWT"), "typ"),
    "no typ": (sign(claims(), typ=None), "typ"),
    "no jwk": (sign(claims(), jwk=None), "no jwk"),
    "jwk as text": (sign(claims(), jwk=json.dumps(JWK)), "no jwk"),
    "private jwk": (sign(claims(), jwk=PRIVATE_JWK), "private key"),
    "jwk off the curve": (sign(claims(), jwk={**JWK, "x": JWK["y"]}), "not on the curve"),
    "P-384 jwk": (sign(claims(), jwk=public_jwk(P384.public_key())), "not a P-256 key"),
    "another device's key": (
        sign(claims(), key=OTHER_KEY, jwk=public_jwk(OTHER_KEY.public_key())),
        "not the expected device's",
    ),
    "the device's jwk, signed by another": (sign(claims(), key=OTHER_KEY), "not by the expected key"),
    "other method": (sign(claims(htm="GET")), "another method or address"),
    "method in lower case": (sign(claims(htm="post")), "another method or address"),
    "other path": (sign(claims(htu=f"{BASE}/mint")), "another method or address"),
    "other host": (sign(claims(htu="https://evil.example/issue-pass")), "another method or address"),
    "htu a list": (sign(claims(htu=[TARGET.htu])), "another method or address"),
    "other body": (sign(claims(req=request_digest(OTHER_REQUEST))), "another request"),
    "no req": (sign(claims(req=None)), "another request"),
    "req beyond ASCII": (sign(claims(req="é")), "another request"),
    "req half a character": (sign(claims(req="\ud800")), "another request"),
    "no jti": (sign(claims(jti=None)), "jti is missing"),
    "jti with U+0000": (sign(claims(jti="a\0")), "not allowed"),
    "no iat": (sign(claims(iat=None)), "iat is missing"),
    "iat as text": (sign(claims(iat=str(NOW_S))), "not a number"),
    "iat in the year 30000": (sign(claims(iat=10**12)), "out of bounds"),
    "crit": (sign(claims(), crit=["jti"]), "crit"),
    "huge": (sign(claims(nonce="n" * 5000)), "longer than"),
}


@pytest.mark.parametrize("name", HOSTILE_PROOFS)
def test_a_hostile_proof_is_unauthorized_with_its_reason(name: str) -> None:
    proof, reason = HOSTILE_PROOFS[name]
    with pytest.raises(Unauthorized) as refusal:
        required(proof)
    assert reason in refusal.value.message


def test_a_genuine_proof_for_the_gateway_counts() -> None:
    proof = build_proof(KEY, REQUEST, TARGET, issued_at_s=NOW_S, proof_id="one")
    assert required(proof) == VerifiedProof(THUMBPRINT, "one", NOW_S)


def test_a_genuine_proof_for_native_grpc_counts() -> None:
    target = grpc_target(ISSUE_PASS)
    assert target == Target("POST", "/vyris.wallet.v1.WalletService/IssuePass")
    assert required(build_proof(KEY, REQUEST, target)) is not None


def test_the_address_names_what_the_path_names() -> None:
    request = ListEncountersRequest(membership_id="a/b c", page_size=3)
    assert http_target(f"{BASE}/", LIST_ENCOUNTERS, request) == Target(
        "GET", f"{BASE}/memberships/a%2Fb%20c/encounters"
    )


def test_two_proofs_of_one_request_have_different_ids() -> None:
    first, second = required(build_proof(KEY, REQUEST, TARGET)), required(build_proof(KEY, REQUEST, TARGET))
    assert first is not None
    assert second is not None
    assert first.jti != second.jti


def test_with_proofs_switched_off_none_is_needed() -> None:
    assert required(None, DeviceProofMode.OFF) is None


@pytest.mark.parametrize("proof", [None, "nonsense"])
def test_without_an_enrolled_device_the_documented_call_works_as_it_is(proof: str | None) -> None:
    proofs = DeviceProofs(DeviceProofMode.WHEN_ENROLLED, BASE)
    assert proofs.required(ClaimedProof(proof, ISSUE_PASS, REQUEST), enrolled_thumbprint=None) is None


def test_calls_for_the_device_alone_are_refused_without_a_proof() -> None:
    proofs = DeviceProofs(DeviceProofMode.WHEN_ENROLLED, BASE)
    with pytest.raises(Unauthorized, match="no enrolled device"):
        proofs.required(ClaimedProof(None, ISSUE_PASS, REQUEST), enrolled_thumbprint=None, for_device_alone=True)


def test_always_means_that_a_membership_without_device_is_refused() -> None:
    proofs = DeviceProofs(DeviceProofMode.ALWAYS, BASE)
    with pytest.raises(Unauthorized, match="no enrolled device"):
        proofs.required(ClaimedProof(None, ISSUE_PASS, REQUEST), enrolled_thumbprint=None)


def test_two_proofs_in_one_call_are_refused_where_one_is_needed() -> None:
    proof = build_proof(KEY, REQUEST, TARGET)
    assert claimed_proof(call_with(proof), REQUEST) == ClaimedProof(proof, ISSUE_PASS, REQUEST)
    assert claimed_proof(call_with(), REQUEST).text is None
    two = claimed_proof(call_with(proof, proof), REQUEST)
    with pytest.raises(Unauthorized):
        DeviceProofs(DeviceProofMode.WHEN_ENROLLED, BASE).required(two, enrolled_thumbprint=THUMBPRINT)
    assert DeviceProofs(DeviceProofMode.OFF, BASE).required(two, enrolled_thumbprint=THUMBPRINT) is None
