"""Whatever text reaches a decoder, it is read or refused; nothing else is ever raised."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import hypothesis.strategies as st
from hypothesis import example, given, settings

from services.encounter import page_token
from services.jose import KeyRefused, TokenRefused, public_key_from_text, read_token
from services.mint.mint_request import checked
from services.mint.receipts.form import looks_like_jws
from services.mint.receipts.verified import receipt_key
from vyris.errors import InvalidReceipt, InvalidRequest
from vyris.mint.v1 import mint_pb2

TEXT = st.text(max_size=300)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
NAMED = st.sampled_from(["kty", "crv", "x", "y", "alg", "typ", "kid", "use", "d", "key_ops", "crit", "jwk", "b64"])
JWK_LIKE = st.fixed_dictionaries({"kty": st.just("EC") | JSON, "crv": st.just("P-256") | JSON}).flatmap(
    lambda known: st.dictionaries(NAMED, JSON, max_size=6).map(lambda more: {**more, **known})
)


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


SEGMENTS = st.one_of(TEXT, st.binary(max_size=90).map(b64), JSON.map(lambda value: b64(json.dumps(value).encode())))
TOKENS = TEXT | st.tuples(SEGMENTS, SEGMENTS, SEGMENTS).map(".".join)
EACH = settings(max_examples=400, deadline=None)


@EACH
@given(TEXT | JSON.map(json.dumps) | JWK_LIKE.map(json.dumps))
@example('{"kty":"EC","crv":"P-256","x":"","y":""}')
@example("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----")
@example("[" * 50_000)
def test_a_key_is_read_or_refused(text: str) -> None:
    with suppress(KeyRefused):
        assert public_key_from_text(text).thumbprint


@EACH
@given(TOKENS)
@example("..")
@example(b64(b'{"alg":"ES256"}') + "." + b64(b"{}") + "." + b64(bytes(64)))
@example(b64(b"[" * 3_000) + ".e30." + b64(bytes(64)))
def test_a_token_is_read_or_refused(text: str) -> None:
    with suppress(TokenRefused):
        read_token(text, typ=frozenset({None, "JWT"}))
    looks_like_jws(text)


@EACH
@given(TEXT | st.binary(max_size=60).map(b64))
def test_a_page_token_is_read_or_refused(text: str) -> None:
    with suppress(InvalidRequest):
        page_token.decode(text)


@EACH
@given(st.builds(dict, receipt_data=TEXT, user_id=TEXT, email=TEXT, tier=TEXT, year=TEXT), st.none() | TEXT, TEXT)
def test_a_mint_request_is_checked_or_refused(fields: dict[str, Any], device_id: str | None, key: str) -> None:
    request = mint_pb2.MintRequest(**fields)
    if device_id is not None:
        request.device.device_id, request.device.public_key = device_id, key
    with suppress(InvalidReceipt, InvalidRequest):
        assert checked(request).user_id == fields["user_id"]


@EACH
@given(st.lists(TEXT, min_size=3, max_size=3), st.lists(TEXT, min_size=3, max_size=3))
@example(["a", "b", "cd"], ["a", "bc", "d"])
def test_two_purchases_never_share_a_key(one: list[str], other: list[str]) -> None:
    assert (receipt_key(*one) == receipt_key(*other)) == (one == other)
