"""Keys that callers send: which ones are accepted, and the errors for the others."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from services.identity.jose import KeyRefused, public_key_from_text, stored_public_key
from tests.signers.keys import HOSTILE_KEYS, JWK, PEM, jwk


@pytest.mark.parametrize("name", HOSTILE_KEYS)
def test_a_hostile_key_is_refused_with_its_reason(name: str) -> None:
    text, reason = HOSTILE_KEYS[name]
    with pytest.raises(KeyRefused) as refusal:
        public_key_from_text(text)
    assert reason in refusal.value.message
    assert "\n" not in refusal.value.message


def test_pem_and_jwk_of_one_key_are_stored_alike() -> None:
    from_pem, from_jwk = public_key_from_text(PEM), public_key_from_text(json.dumps(JWK))
    assert from_pem.canonical == from_jwk.canonical
    assert from_pem.thumbprint == from_jwk.thumbprint


@pytest.mark.parametrize(
    "text",
    [PEM.strip(), PEM.replace("\n", "\r\n"), f"\n{PEM}", f"  {PEM}\n\t \r\n"],
    # The key is a new one in each process that runs tests, and they must agree on the names.
    ids=["none", "windows", "before", "around"],
)
def test_line_ends_of_windows_and_blanks_around_are_accepted(text: str) -> None:
    assert public_key_from_text(text).thumbprint == public_key_from_text(PEM).thumbprint


def test_the_stored_text_hashes_to_the_thumbprint() -> None:
    key = public_key_from_text(PEM)
    digest = hashlib.sha256(key.canonical.encode()).digest()
    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == key.thumbprint


def test_the_thumbprint_is_that_of_the_published_example() -> None:
    # The key and its thumbprint as printed in RFC 9449, sections 4.1 and 6.1.
    example = (
        '{"kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",'
        '"y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256"}'
    )
    assert public_key_from_text(example).thumbprint == "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


def test_a_stored_key_is_parsed_once() -> None:
    canonical = public_key_from_text(PEM).canonical
    assert stored_public_key(canonical) is stored_public_key(canonical)


def test_a_stored_key_in_another_spelling_is_refused() -> None:
    with pytest.raises(KeyRefused):
        stored_public_key(json.dumps(JWK))


def test_members_that_describe_the_key_are_not_stored() -> None:
    described = public_key_from_text(jwk(kid="phone", use="sig", alg="ES256", key_ops=["verify"]))
    assert described.canonical == public_key_from_text(PEM).canonical
