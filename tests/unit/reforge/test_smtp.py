"""Send a mail to a slow server, and to one that hangs."""

from __future__ import annotations

import asyncio
import time
from email.message import EmailMessage

import pytest

from services.reforge.smtp import MailServer, NotSent

PAUSE_S = 0.05
LIMIT_S = 0.5
ANSWERS = {b"EHLO": b"250 here", b"MAIL": b"250 ok", b"RCPT": b"250 ok", b"DATA": b"354 go on", b"QUIT": b"221 bye"}


async def _answer_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Each command ends within the time limit, but all together do not."""
    writer.write(b"220 here\r\n")
    while line := await reader.readline():
        await asyncio.sleep(PAUSE_S)
        known = ANSWERS.get(line[:4].upper())
        if known is not None or line == b".\r\n":
            writer.write((known or b"250 kept") + b"\r\n")
    writer.close()


def _message() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@localhost", "b@localhost", "Hello"
    message.set_content("Hello")
    return message


@pytest.mark.parametrize(("limit_s", "sent"), [(2 * PAUSE_S, False), (100 * PAUSE_S, True)])
async def test_the_limit_is_for_the_whole_mail(limit_s: float, sent: bool) -> None:
    server = await asyncio.start_server(_answer_slowly, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    handing_over = MailServer(f"smtp://127.0.0.1:{port}", limit_s).send(
        _message(), sender="a@localhost", recipient="b@localhost"
    )
    async with server:
        if sent:
            await handing_over
        else:
            with pytest.raises(NotSent) as refusal:
                await handing_over
            assert not refusal.value.permanent


@pytest.mark.parametrize(("hangs_at", "sent"), [(b"QUIT", True), (b"RCPT", False)])
async def test_a_mail_that_the_server_has_kept_is_sent_even_if_it_then_hangs(hangs_at: bytes, sent: bool) -> None:
    """Sent again, the same mail comes at every attempt until it expires."""

    async def answer_until(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while (line := await reader.readline()) and line[:4].upper() != hangs_at:
            known = ANSWERS.get(line[:4].upper())
            if known is not None or line == b".\r\n":
                writer.write((known or b"250 kept") + b"\r\n")
        await reader.read()  # nothing more is answered
        writer.close()

    server = await asyncio.start_server(answer_until, "127.0.0.1", 0)
    mail_server = MailServer(f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}", LIMIT_S)
    began_s = time.monotonic()
    async with server:
        handing_over = mail_server.send(_message(), sender="a@localhost", recipient="b@localhost")
        if sent:
            await handing_over
        else:
            with pytest.raises(NotSent):
                await handing_over
    assert time.monotonic() - began_s < 2 * LIMIT_S
