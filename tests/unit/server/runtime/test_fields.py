"""The forms of fields that several services share."""

from __future__ import annotations

from email.headerregistry import Address
from email.message import EmailMessage

import pytest

from services.server.runtime.fields import email_address
from vyris.errors import InvalidRequest

ADDRESSES = (
    "ada@example.org",
    "a@b",
    "ada.lovelace+drop@mail.example.org",
    "o'brien@example.org",
    "!#$%&'*+/?=^_`{|}~-@example.org",
    "x" * 64 + "@example.org",
    "ada@xn--exmple-cua.org",
    "ada@127.0.0.1",
    "ada@" + ".".join(["x" * 63] * 3) + "." + "x" * 58,
)
NOT_ADDRESSES = (
    "",
    "ada",
    "@example.org",
    "ada@",
    "ada@@example.org",
    "a@b@example.org",
    "ada @example.org",
    "ada\r\nbcc: eve@example.org",
    "ada\x00@example.org",
    "x" * 65 + "@example.org",
    "ada@" + ".".join(["x" * 63] * 4),
    "ada@" + "x" * 64 + ".org",
    "ada@-example.org",
    "ada@example-.org",
    "ada@example..org",
    "ada@.org",
    ".ada@example.org",
    "ada.@example.org",
    "a..da@example.org",
    # Mail to these would go to another person, or nowhere.
    "ada,eve@example.org",
    "ada;eve@example.org",
    "ada:eve@example.org",
    "(ada)eve@example.org",
    "<ada>@example.org",
    "ada@example.org>",
    '"ada"@example.org',
    '"ada@example.org',
    "ada\\@example.org",
    "ada@[127.0.0.1]",
    "=?utf-8?q?ada?=@example.org",
    "ädä@example.org",
    "\u202eada@example.org",
)


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_is_taken_and_a_mail_carries_it_unchanged(text: str) -> None:
    mail = EmailMessage()
    mail["To"] = Address(addr_spec=email_address(text))
    assert [address.addr_spec for address in mail["To"].addresses] == [text]
    assert text.encode() in mail.as_bytes()


@pytest.mark.parametrize("text", NOT_ADDRESSES)
def test_an_address_that_no_mail_can_carry_is_refused_on_arrival(text: str) -> None:
    with pytest.raises(InvalidRequest):
        email_address(text)
