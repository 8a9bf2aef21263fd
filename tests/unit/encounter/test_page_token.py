"""A page token returns the position that it was made from; nothing else is a page token."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.encounter.page_token import TEXT_LENGTH, Position, decode, encode
from vyris.errors import InvalidRequest

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))


@given(MOMENTS, st.uuids())
def test_a_position_survives_the_token(moment: datetime, id_: uuid.UUID) -> None:
    text = encode(Position(moment, id_))
    assert len(text) == TEXT_LENGTH
    assert decode(text) == Position(moment, id_)


@given(st.text(max_size=40) | st.text("ABCabc012-_", min_size=TEXT_LENGTH, max_size=TEXT_LENGTH))
def test_anything_else_is_a_position_of_its_own_spelling_or_refused(text: str) -> None:
    try:
        position = decode(text)
    except InvalidRequest:
        return
    assert encode(position) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "A" * TEXT_LENGTH,
        "_" * TEXT_LENGTH,
        pytest.param(encode(Position(datetime.now(UTC), uuid.uuid4())) + "==", id="padded"),
    ],
)
def test_a_token_that_the_service_did_not_make_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="page_token"):
        decode(text)
