"""Any mint request is read or refused, and nothing else is raised; two purchases never share a key."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import hypothesis.strategies as st
from hypothesis import example, given, settings

from services.mint.mint_request import parse_mint_request
from services.mint.receipts.form import looks_like_jws, looks_like_plain_jws, looks_like_storekit_jws
from services.mint.receipts.verified import receipt_key
from vyris.errors import InvalidReceipt, InvalidRequest
from vyris.mint.v1 import mint_pb2

TEXT = st.text(max_size=300)
TOKEN_LIKE = st.lists(TEXT | st.text("eyJABCabc012-_", max_size=60), min_size=1, max_size=4).map(".".join)
EACH = settings(max_examples=400, deadline=None)


@EACH
@given(st.builds(dict, receipt_data=TEXT, user_id=TEXT, email=TEXT, tier=TEXT, year=TEXT), st.none() | TEXT, TEXT)
def test_a_mint_request_is_checked_or_refused(fields: dict[str, Any], device_id: str | None, key: str) -> None:
    request = mint_pb2.MintRequest(**fields)
    if device_id is not None:
        request.device.device_id, request.device.public_key = device_id, key
    with suppress(InvalidReceipt, InvalidRequest):
        assert parse_mint_request(request).user_id == fields["user_id"]


@EACH
@given(TOKEN_LIKE)
@example("..")
@example("e30.e30.AA")
def test_a_signed_receipt_has_one_of_two_forms(text: str) -> None:
    assert looks_like_storekit_jws(text) + looks_like_plain_jws(text) == looks_like_jws(text)


@EACH
@given(st.lists(TEXT, min_size=3, max_size=3), st.lists(TEXT, min_size=3, max_size=3))
@example(["a", "b", "cd"], ["a", "bc", "d"])
def test_two_purchases_never_share_a_key(one: list[str], other: list[str]) -> None:
    assert (receipt_key(*one) == receipt_key(*other)) == (one == other)
