"""Refusals by real mail servers: only a refusal of the recipient or of the mail is final."""

# ruff: noqa: ARG002 - the shape of aiosmtpd\'s hooks

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from services.reforge.smtp import About, MailServer, NotSent
from tests.ports import free_port

RECIPIENT = "owner@mail.example"


class Answering:
    """Answers one command with a refusal of the test's."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.envelopes: list[Envelope] = []

    async def handle_EHLO(  # noqa: N802
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        session.host_name = hostname
        return [self.answers["ehlo"]] if "ehlo" in self.answers else responses

    async def handle_HELO(self, server: SMTP, session: Session, envelope: Envelope, hostname: str) -> str:  # noqa: N802
        session.host_name = hostname
        return self.answers.get("ehlo", "250 here")

    async def handle_MAIL(  # noqa: N802
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return self.answers.get("mail", "250 ok")

    async def handle_RCPT(  # noqa: N802
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        if "rcpt" not in self.answers:
            envelope.rcpt_tos.append(address)
        return self.answers.get("rcpt", "250 ok")

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        return self.answers.get("data", "250 kept")


@contextmanager
def serve(handler: Answering, **options: Any) -> Iterator[int]:
    controller = Controller(handler, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def message(recipient: str = RECIPIENT) -> EmailMessage:
    mail = EmailMessage()
    name, _, domain = recipient.partition("@")
    mail["From"], mail["To"], mail["Subject"] = "us@club.example", Address(username=name, domain=domain), "Hello"
    mail.set_content("Hello")
    return mail


async def refusal(port: int, *, login: str = "", recipient: str = RECIPIENT) -> NotSent:
    server = MailServer(f"smtp://{login}127.0.0.1:{port}", 5.0)
    with pytest.raises(NotSent) as refused:
        await server.send(message(recipient), sender="us@club.example", recipient=recipient)
    return refused.value


@pytest.mark.parametrize(
    ("command", "answer", "about", "permanent"),
    [
        # Refusals of the sender: retried.
        ("ehlo", "554 5.7.1 no", About.US, False),
        ("mail", "550 sender rejected", About.US, False),
        ("mail", "550 5.7.1 your address is on a list", About.US, False),
        ("mail", "553 5.1.8 no such sender domain", About.US, False),
        ("mail", "530 authentication required", About.US, False),
        ("mail", "552 too large", About.US, False),
        ("mail", "555 options", About.US, False),
        ("rcpt", "550 5.7.1 relaying denied", About.US, False),
        ("rcpt", "554 5.7.1 <owner>: Relay access denied", About.US, False),
        ("rcpt", "550 5.7.26 unauthenticated sender", About.US, False),
        ("rcpt", "550 5.1.8 sender address rejected", About.US, False),
        ("rcpt", "530 5.7.0 authentication required", About.US, False),
        ("rcpt", "503 5.5.1 bad sequence", About.US, False),
        ("rcpt", "550 5.4.4 no route", About.US, False),
        ("data", "550 5.7.26 SPF and DKIM did not pass", About.US, False),
        ("data", "554 5.3.4 message too big for system", About.US, False),
        # Temporary refusals: retried.
        ("mail", "451 try later", About.SERVER, False),
        ("rcpt", "450 greylisted", About.SERVER, False),
        ("rcpt", "452 4.2.2 mailbox full", About.SERVER, False),
        ("data", "451 4.7.1 try later", About.SERVER, False),
        # Refusals of the recipient or of this mail: final.
        ("rcpt", "550 no such user", About.RECIPIENT, True),
        ("rcpt", "550 5.1.1 no such user", About.RECIPIENT, True),
        ("rcpt", "550 5.1.10 null MX", About.RECIPIENT, True),
        ("rcpt", "552 5.2.2 mailbox full", About.RECIPIENT, True),
        ("rcpt", "553 mailbox name not allowed", About.RECIPIENT, True),
        ("data", "550 rejected", About.CONTENT, True),
        ("data", "554 5.6.0 malformed", About.CONTENT, True),
        ("data", "550 5.1.1 no such user", About.CONTENT, True),
    ],
)
async def test_only_a_no_to_the_recipient_or_the_mail_is_final(
    command: str, answer: str, about: About, permanent: bool
) -> None:
    with serve(Answering(**{command: answer})) as port:
        refused = await refusal(port)
    assert (refused.about, refused.permanent, refused.stage) == (about, permanent, command)
    assert answer[:3] in refused.failure
    assert "no such" not in refused.failure  # the code, never the server's text


@pytest.mark.parametrize(
    ("greeting", "about"),
    [("554 no service for you", About.US), ("421 too busy", About.SERVER), ("521 takes no mail", About.US)],
)
async def test_a_greeting_that_refuses_us_is_not_final(greeting: str, about: About) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{greeting}\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        refused = await refusal(server.sockets[0].getsockname()[1])
    assert (refused.about, refused.permanent, refused.stage) == (about, False, "greeting")


@pytest.mark.parametrize("auth", ["535 5.7.8 wrong password", "534 too weak", "454 not now"])
async def test_a_login_that_fails_is_not_final(auth: str) -> None:
    def refuse(*_: object) -> AuthResult:
        return AuthResult(success=False, handled=False, message=auth)

    with serve(Answering(), authenticator=refuse, auth_require_tls=False) as port:
        refused = await refusal(port, login="us:secret@")
    assert not refused.permanent
    assert refused.stage == "auth"
    assert refused.about is (About.SERVER if auth.startswith("4") else About.US)


async def test_a_server_without_logins_is_not_final() -> None:
    with serve(Answering()) as port:
        assert not (await refusal(port, login="us:secret@")).permanent


async def test_a_name_that_is_not_ascii_needs_a_server_that_carries_it() -> None:
    with serve(Answering(), enable_SMTPUTF8=False) as port:
        refused = await refusal(port, recipient="\u00e4da@mail.example")
        assert (refused.about, refused.permanent) == (About.RECIPIENT, True)
    able = Answering()
    with serve(able, enable_SMTPUTF8=True) as port:
        server = MailServer(f"smtp://127.0.0.1:{port}", 5.0)
        await server.send(message("\u00e4da@mail.example"), sender="us@club.example", recipient="\u00e4da@mail.example")
    assert able.envelopes[0].rcpt_tos == ["\u00e4da@mail.example"]
