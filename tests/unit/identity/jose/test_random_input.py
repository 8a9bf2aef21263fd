"""Random input is accepted or refused; nothing else is raised."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

from hypothesis import example, given
from hypothesis import strategies as st

from services.identity.jose import (
    PLAIN_JWT,
    KeyRefused,
    TokenRefused,
    numeric_date,
    public_key_from_text,
    read_token,
    text_claim,
)
from tests.signers.keys import JWK, PEM
from tests.unit.identity.jose.test_compact_jws import GOOD, encode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def change_text(text: str) -> st.SearchStrategy[str]:
    """`text` with a piece of it replaced."""
    return st.builds(
        lambda at, length, piece: text[:at] + piece + text[at + length :],
        st.integers(0, len(text)),
        st.integers(0, 8),
        st.text(max_size=8),
    )


def refusal_of(read: Callable[[], object]) -> str:
    """The error for the input; empty if it is accepted. Any other exception fails the test."""
    try:
        read()
    except (TokenRefused, KeyRefused) as refusal:
        return refusal.message
    return ""


@given(st.text() | change_text(GOOD) | st.builds(lambda h, p: f"{encode(h)}.{encode(p)}.AA", st.binary(), st.binary()))
@example("..")
@example(".".join([encode({"alg": "ES256"}), encode({}), encode(bytes(64))]))
@example(".".join([encode(b"[" * 3_000), encode({}), encode(bytes(64))]))
def test_any_text_is_a_token_or_is_refused(text: str) -> None:
    assert refusal_of(lambda: read_token(text, typ=PLAIN_JWT, max_bytes=4_096)).isprintable()


@given(st.text() | change_text(PEM) | change_text(json.dumps(JWK)))
@example('{"kty":"EC","crv":"P-256","x":"","y":""}')
@example("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----")
@example("[" * 50_000)
def test_any_text_is_a_key_or_is_refused(text: str) -> None:
    assert refusal_of(lambda: public_key_from_text(text)).isprintable()


@given(JSON)
def test_any_claim_has_a_value_or_is_refused(value: object) -> None:
    for read in (numeric_date, text_claim):
        assert refusal_of(partial(read, {"a": value}, "a")).isprintable()
