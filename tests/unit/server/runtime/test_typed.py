"""Typed and pasted text is read by its meaning; ids are compared exactly."""

from __future__ import annotations

import pytest

from services.server.runtime.fields import email_address
from services.server.runtime.request_checks import compile_complaint
from services.server.runtime.typed import pasted_token, typed_address, typed_digits, typed_word
from vyris.bounds import field_bounds
from vyris.errors import InvalidRequest
from vyris.mint.v1 import mint_pb2

TOKEN = "-bcDEF_" + "x" * 35 + "-"


@pytest.mark.parametrize(
    "typed",
    [
        "123456",
        " 123 456\n",
        "123-456",
        "123\u2013456",  # en dash
        "123\u2212456",  # minus
        "12\u00a034\u202f56",  # no-break spaces
        "\uff11\uff12\uff13\uff14\uff15\uff16",  # full-width
        "\uff11\uff12\uff13\u3000\uff14\uff15\uff16",
        "\u0661\u0662\u0663\u0664\u0665\u0666",  # Arabic-Indic
        "\u200f\u06f1\u06f2\u06f3\u06f4\u06f5\u06f6",  # Persian, after a mark of direction
        "\u0967\u0968\u0969\u096a\u096b\u096c",  # Devanagari
        "\U0001d7cf\U0001d7d0\U0001d7d1\U0001d7d2\U0001d7d3\U0001d7d4",  # mathematical bold
        "1\u200b23456",  # zero width
    ],
)
def test_a_code_is_read_in_the_digits_of_any_keyboard(typed: str) -> None:
    assert typed_digits(typed) == "123456"


@pytest.mark.parametrize("typed", ["", "12345a", "½23456", "12.3456", "一二三四五六", "1" * 65])
def test_text_with_more_than_digits_is_no_code(typed: str) -> None:
    assert typed_digits(typed) == ""


@pytest.mark.parametrize(
    "pasted",
    [
        TOKEN,
        f" {TOKEN}\n",
        f"{TOKEN[:20]}\r\n{TOKEN[20:]}",
        f"{TOKEN[:20]}\u200b{TOKEN[20:]}",
        f"<{TOKEN}>",
        f"({TOKEN}).",
        f"\u201c{TOKEN}\u201d,",
    ],
)
def test_a_token_is_read_as_it_was_before_it_was_pasted(pasted: str) -> None:
    assert pasted_token(pasted) == TOKEN


def test_a_token_is_not_read_as_another() -> None:
    assert pasted_token(TOKEN.lower()) != TOKEN
    assert pasted_token(TOKEN.strip("-")) != TOKEN


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        (" ada@example.org ", "ada@example.org"),
        ("ada@example.org\n", "ada@example.org"),
        ("\u3000ada@example.org", "ada@example.org"),
        ("Ada@EXAMPLE.Org", "Ada@example.org"),
        ("ada\uff20example.org", "ada@example.org"),
        (
            "\uff41\uff44\uff41\uff20\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45\uff0e\uff4f\uff52\uff47",
            "ada@example.org",
        ),
        ("ada@example\u3002org", "ada@example.org"),
        ("ada@b\u00fccher.example", "ada@xn--bcher-kva.example"),
        ("ada@BU\u0308CHER.example", "ada@xn--bcher-kva.example"),
        ("ada@stra\u00dfe.example", "ada@xn--strae-oqa.example"),
        ("\u200bada@example.org\ufeff", "ada@example.org"),
    ],
)
def test_an_address_is_read_as_it_is_meant(typed: str, address: str) -> None:
    assert email_address(typed) == address


@pytest.mark.parametrize(
    "typed", ["\u00aada@example.org", "\u00e4da@example.org", "a da@example.org", "ada@\u2603\ufe0f..x"]
)
def test_an_address_is_not_made_another_persons(typed: str) -> None:
    with pytest.raises(InvalidRequest):
        email_address(typed)


def test_text_that_is_no_address_is_not_changed() -> None:
    assert typed_address("nonsense") == "nonsense"


def test_a_drops_name_may_be_typed_with_capitals() -> None:
    assert [typed_word(text) for text in ("Late-Summer ", "\uff12\uff10\uff12\uff16")] == ["late-summer", "2026"]


def test_ids_are_exact() -> None:
    complain = compile_complaint(field_bounds(mint_pb2.MintRequest, "user_id"), "user_id")
    assert complain(" ada ") is None
    assert complain("ad\u00e0") is not None
