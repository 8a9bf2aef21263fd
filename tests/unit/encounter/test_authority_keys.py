"""How ENCOUNTER_JWT_PUBLIC_KEY is parsed, and which key a kid names."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from services.encounter.authority_keys import authority_keys
from services.identity.jose import public_key_from_text
from services.server.runtime.settings import WrongSetting
from tests.signers.encounter import Signer
from vyris.device_keys import public_jwk

FIRST, SECOND = Signer("", ""), Signer("", "")
PEM = FIRST.pem.decode()
THUMBPRINT = public_key_from_text(PEM).thumbprint
SECOND_THUMBPRINT = public_key_from_text(SECOND.pem.decode()).thumbprint


def jwk(signer: Signer, **members: Any) -> dict[str, Any]:
    return {**public_jwk(signer.key.public_key()), **members}


def names(text: str, kid: str | None) -> list[str]:
    return [key.thumbprint for key in authority_keys(text).candidates(kid)]


@pytest.mark.parametrize(
    "text", [PEM, PEM.replace("\n", "\\n"), PEM.replace("\n", "\r\n"), PEM.replace("\n", "\\r\\n"), f"\n  {PEM}\n\n"]
)
def test_one_pem_serves_tokens_without_kid_and_by_its_thumbprint(text: str) -> None:
    assert names(text, None) == [THUMBPRINT]
    assert names(text, THUMBPRINT) == [THUMBPRINT]
    assert names(text, "another") == []


def test_several_pem_blocks_are_all_tried_for_a_token_without_kid() -> None:
    text = PEM + SECOND.pem.decode()
    assert names(text, None) == [THUMBPRINT, SECOND_THUMBPRINT]
    assert names(text.replace("\n", "\\n"), SECOND_THUMBPRINT) == [SECOND_THUMBPRINT]


def test_a_jwks_names_keys_by_kid_for_rotation() -> None:
    text = json.dumps({"keys": [jwk(FIRST, kid="2025", use="sig", alg="ES256"), jwk(SECOND, kid="2026")]})
    assert names(text, "2025") == [THUMBPRINT]
    assert names(text, "2026") == [SECOND_THUMBPRINT]
    assert names(text, "2027") == []
    assert names(text, None) == []


def test_in_a_jwks_a_token_without_kid_belongs_to_the_key_without_kid() -> None:
    text = json.dumps({"keys": [jwk(FIRST, kid="2025"), jwk(SECOND)]})
    assert names(text, None) == [SECOND_THUMBPRINT]


def test_the_only_key_serves_tokens_without_kid_even_if_it_has_one() -> None:
    assert names(json.dumps(jwk(FIRST, kid="2025")), None) == [THUMBPRINT]


PRIVATE_PEM = FIRST.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
P384_PEM = (
    ec.generate_private_key(ec.SECP384R1())
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    .decode()
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("secret", "neither a PEM block nor a JWKS"),
        (PEM + "and more", "neither a PEM block nor a JWKS"),
        (PEM[:-10], "neither a PEM block nor a JWKS"),
        (PRIVATE_PEM, "private key"),
        (P384_PEM, "P-256"),
        (PEM + PEM, "twice"),
        ("{}", "P-256"),
        ('{"keys": []}', "no list of keys"),
        ('{"keys": {}}', "no list of keys"),
        ("{", "JSON"),
        (json.dumps({"keys": [jwk(FIRST, kid="a"), jwk(SECOND, kid="a")]}), "twice"),
        (json.dumps({"keys": [jwk(FIRST, kid=7)]}), "kid"),
        (json.dumps({"keys": [jwk(Signer("", "")) for _ in range(17)]}), "at most 16"),
    ],
)
def test_a_wrong_setting_names_itself(text: str, says: str) -> None:
    with pytest.raises(WrongSetting, match=says) as refusal:
        authority_keys(text)
    assert "ENCOUNTER_JWT_PUBLIC_KEY" in str(refusal.value)


def test_no_text_is_no_key() -> None:
    assert names("", None) == []
