"""Tokens and codes: derived from a secret, different for each purpose, kept as hashes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid

from services.reforge.tokens import Purpose, TokenKey, digest

KEY = TokenKey(b"k" * 32)
REFORGE_ID = uuid.UUID("0d6cf3c6-3b0a-4f3e-9d3f-1f0f5f0d8a11")


def test_a_links_token_is_the_hmac_of_the_requests_id() -> None:
    mac = hmac.new(b"k" * 32, str(REFORGE_ID).encode(), hashlib.sha256).digest()
    assert KEY.token(Purpose.MOVE, REFORGE_ID) == base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def test_tokens_of_different_purposes_requests_and_keys_differ() -> None:
    tokens = {KEY.token(purpose, REFORGE_ID) for purpose in Purpose}
    tokens.add(KEY.token(Purpose.MOVE, uuid.uuid4()))
    tokens.add(TokenKey(b"l" * 32).token(Purpose.MOVE, REFORGE_ID))
    assert len(tokens) == len(Purpose) + 2
    assert {len(token) for token in tokens} == {43}


def test_a_code_is_six_digits_and_may_be_typed_with_a_gap() -> None:
    code = KEY.code(REFORGE_ID)
    assert len(code) == 6
    assert code.isdecimal()
    assert KEY.is_code(REFORGE_ID, f" {code[:3]}-{code[3:]} ")
    assert not KEY.is_code(REFORGE_ID, code[:5])
    assert not KEY.is_code(uuid.uuid4(), code + "0")
    assert not KEY.is_code(REFORGE_ID, "é")


def test_codes_are_spread_over_all_numbers() -> None:
    codes = {KEY.code(uuid.UUID(int=number)) for number in range(300)}
    assert len(codes) > 290
    assert any(code.startswith("0") for code in codes)


def test_only_the_hash_of_any_token_is_stored() -> None:
    assert digest("abc") == hashlib.sha256(b"abc").digest()
    assert len(digest("\ud800")) == 32
