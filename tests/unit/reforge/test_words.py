"""Texts for people: names that cannot become links, pages that cannot run or load anything."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.headerregistry import Address
from uuid import uuid4

import pytest

from services.reforge.mail_facts import format_name, format_time
from services.reforge.mail_messages import SUBJECTS, MailWriter
from services.reforge.outbox import Mail, MailKind
from services.reforge.pages import Page, Pages
from services.reforge.smtp import NotSent
from services.reforge.tokens import TokenKey

FACTS = {
    "membership": "Genesis 2025 · № 7",
    "device": "<b>phone</b>",
    "device_key": "abcdefgh",
    "asked_at": "1 January 2026, 00:00 UTC",
    "asked_from": "203.0.113.9",
    "expires_at": "1 January 2026, 00:30 UTC",
    "moved_at": "1 January 2026, 00:10 UTC",
    "undo_until": "2 January 2026, 00:10 UTC",
    "effective_at": "4 January 2026, 00:00 UTC",
    "proven": False,
    "code_required": True,
    "applied": False,
    "by_device": True,
    "warned": True,
    "confirm_until": "4 January 2026, 00:00 UTC",
    "hours": 72,
}


@pytest.mark.parametrize(
    ("device_id", "shown"),
    [
        ("device-B", "device-B"),
        ("Ada's phone (2)", "Ada's phone (2)"),
        ("https://evil.example", "https···evil·example"),
        ("call@evil.example", "call·evil·example"),
        ("x" * 100, "x" * 47 + "…"),
    ],
)
def test_a_devices_name_cannot_become_a_link(device_id: str, shown: str) -> None:
    assert format_name(device_id) == shown


def test_times_are_written_in_words_and_utc() -> None:
    assert format_time(datetime(2026, 11, 3, 5, 7, tzinfo=UTC)) == "3 November 2026, 05:07 UTC"


def mail(kind: MailKind, recipient: str = "ada@mail.example") -> Mail:
    return Mail(uuid4(), kind, uuid4(), recipient, FACTS, datetime(2026, 1, 1, tzinfo=UTC), 1, False)


WRITER = MailWriter(
    TokenKey(b"k" * 32), base_url="https://club.example", sender=Address("Club", "no-reply", "club.example")
)


@pytest.mark.parametrize("kind", MailKind)
def test_every_mail_has_text_and_html_and_escapes_what_it_was_given(kind: MailKind) -> None:
    message = WRITER.write(mail(kind))
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    assert message["Subject"] == SUBJECTS[kind]
    assert "<b>phone" not in html.get_content()
    assert "<script" not in html.get_content()
    assert all(len(line) < 998 for line in bytes(message).splitlines())


@pytest.mark.parametrize("recipient", ["a,b@mail.example", "ada", "a b@mail.example", "a@b\r\nBcc: c@d"])
def test_an_address_that_no_mail_can_carry_is_refused_for_good(recipient: str) -> None:
    with pytest.raises(NotSent) as refusal:
        WRITER.write(mail(MailKind.CONFIRM, recipient))
    assert refusal.value.permanent


PAGES = {
    "confirm": {**FACTS, "token": "t", "problem": ""},
    "confirmed": {},
    "refuse": {**FACTS, "token": "t"},
    "keep_email": {**FACTS, "token": "t"},
    "confirm_email": {**FACTS, "token": "t"},
    "email_confirmed": FACTS,
    "refused": {},
    "undo": {**FACTS, "token": "t"},
    "undone": {},
    "problem": {"reason": "EXPIRED", "message": "<i>"},
}


@pytest.mark.parametrize("name", PAGES)
def test_every_page_stands_alone_and_escapes_what_it_was_given(name: str) -> None:
    pages = Pages()
    html = pages.render(Page(name, PAGES[name])).decode()
    assert "<script" not in html
    assert "<b>phone" not in html
    assert "<i>" not in html
    assert not re.search(r"(src|href|action)=\"(https?:)?//", html)
    assert html.count("<h1>") == 1
    assert html.count("<button") <= 1
    assert '<html lang="en">' in html


def test_the_policy_allows_the_one_style_by_its_hash_and_nothing_else() -> None:
    headers = dict(Pages().headers)
    assert re.search(r"style-src 'sha256-[A-Za-z0-9+/]{43}='", headers["content-security-policy"])
    assert headers["content-security-policy"].startswith("default-src 'none'")
