"""Send a mail to the mail server, and classify its answers.

A mail is given up only if the server refuses its recipient or its content for good. A refusal of us (greeting, EHLO,
TLS, login, MAIL FROM, policy) or a temporary one (4xx) may be different in a minute, so the mail is retried until it
expires.

Sources: RFC 5321 sections 3.1 and 4.2 (replies), RFC 3463 (enhanced codes), RFC 4954 section 6 (login), RFC 6531
(addresses that are not ASCII).
"""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from enum import StrEnum
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import aiosmtplib

_PORTS: Final = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
QUIT_LIMIT_S: Final = 1.0
_PERMANENT: Final = 500
# At every stage these codes are about our commands, our login or the server itself. 521, 556: it accepts no mail at
# all.
_ABOUT_THE_SESSION: Final = frozenset({500, 501, 502, 503, 504, 521, 523, 530, 534, 535, 538, 555, 556})
_ENHANCED: Final = re.compile(r"\s*5\.(\d{1,3})\.(\d{1,3})\b")
# Subjects of RFC 3463 that are about the mail: addresses, mailboxes, content. The others are about the server (3), the
# network (4), the protocol (5), or its policy for us (7).
_ADDRESS, _MAILBOX, _CONTENT = 1, 2, 6
# X.1.7 and X.1.8 are about the sender's address.
_SENDER_DETAILS: Final = frozenset({7, 8})


class About(StrEnum):
    """The cause of a failure."""

    RECIPIENT = "recipient"
    CONTENT = "content"
    US = "us"  # the sender: address, login, network, reputation
    SERVER = "server"  # not now (4xx)
    CONNECTION = "connection"  # no answer at all


class NotSent(Exception):
    """The server did not accept the mail.

    `failure`: a word or a code for the log. `permanent`: a retry cannot succeed. `about`: the cause. `stage`: the
    refused command in lower case, or empty.
    """

    def __init__(self, failure: str, *, permanent: bool, about: About = About.CONNECTION, stage: str = "") -> None:
        self.failure = failure
        self.permanent = permanent
        self.about = about
        self.stage = stage
        super().__init__(failure)


def is_smtp_url(url: str) -> bool:
    """Whether `url` is a valid URL of a mail server, with one of the three schemes."""
    try:
        parts = urlsplit(url)
        return parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0 and parts.path in ("", "/")
    except ValueError:
        return False


@dataclass(frozen=True)
class MailServer:
    """`smtps://` uses TLS from the start, `smtp+starttls://` requires STARTTLS, `smtp://` uses it if offered."""

    url: str
    timeout_s: float  # for a whole mail

    async def send(self, message: EmailMessage, *, sender: str, recipient: str) -> None:
        """Send one mail. Raises NotSent."""
        client = self._client()
        until_s = asyncio.get_running_loop().time() + self.timeout_s
        try:
            # The library's own limit applies to each command, not to the whole mail.
            async with asyncio.timeout_at(until_s):
                await client.connect()
                await client.send_message(message, sender=sender, recipients=[recipient])
        except aiosmtplib.SMTPRecipientsRefused as refusal:
            raise _recipient_refusal(refusal) from None
        except aiosmtplib.SMTPResponseException as answer:
            raise _refusal(answer) from None
        except aiosmtplib.SMTPNotSupported:
            # For an address that is not ASCII this is SMTPUTF8; otherwise STARTTLS or the login.
            unwritable = not recipient.isascii()
            about = About.RECIPIENT if unwritable else About.US
            failure = "server carries ASCII addresses alone" if unwritable else "SMTPNotSupported"
            raise NotSent(failure, permanent=unwritable, about=about, stage="rcpt" if unwritable else "ehlo") from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as problem:
            raise NotSent(type(problem).__name__, permanent=False) from None
        except ValueError:  # An invalid recipient address; the sender's is checked at start.
            raise NotSent("address cannot be written", permanent=True, about=About.RECIPIENT, stage="rcpt") from None
        finally:
            await _quit(client, until_s)

    def _client(self) -> aiosmtplib.SMTP:
        parts = urlsplit(self.url)
        return aiosmtplib.SMTP(
            hostname=parts.hostname,
            port=parts.port or _PORTS[parts.scheme],
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            use_tls=parts.scheme == "smtps",
            start_tls=_start_tls(parts),
            tls_context=ssl.create_default_context() if parts.scheme != "smtp" else None,
            timeout=self.timeout_s,
        )


async def _quit(client: aiosmtplib.SMTP, until_s: float) -> None:
    """End the session. The server has decided about the mail, so a QUIT that fails or hangs changes nothing."""
    try:
        async with asyncio.timeout_at(min(until_s, asyncio.get_running_loop().time() + QUIT_LIMIT_S)):
            await client.quit()
    except (aiosmtplib.SMTPException, OSError, TimeoutError):
        pass
    finally:
        client.close()


def _recipient_refusal(refusal: aiosmtplib.SMTPRecipientsRefused) -> NotSent:
    answer = refusal.recipients[0] if refusal.recipients else None
    code, text = (answer.code, answer.message) if answer else (_PERMANENT + 50, "")
    about = _about(code, text, {_ADDRESS, _MAILBOX}, About.RECIPIENT)
    return NotSent(f"recipient refused ({code})", permanent=about is About.RECIPIENT, about=about, stage="rcpt")


def _refusal(answer: aiosmtplib.SMTPResponseException) -> NotSent:
    if isinstance(answer, aiosmtplib.SMTPDataError):
        about = _about(answer.code, answer.message, {_ADDRESS, _MAILBOX, _CONTENT}, About.CONTENT)
        return NotSent(f"server answered {answer.code}", permanent=about is About.CONTENT, about=about, stage="data")
    about = About.US if answer.code >= _PERMANENT else About.SERVER
    return NotSent(f"server answered {answer.code}", permanent=False, about=about, stage=_stage(answer))


def _about(code: int, text: str, subjects: set[int], mail: About) -> About:
    """The cause of an answer to RCPT or DATA: `mail`, us, or a temporary state of the server."""
    if code < _PERMANENT:
        return About.SERVER
    if code in _ABOUT_THE_SESSION:
        return About.US
    enhanced = _ENHANCED.match(text)
    if enhanced is None:
        return mail
    subject, detail = int(enhanced[1]), int(enhanced[2])
    if subject == 0:  # "other": no additional information
        return mail
    if subject not in subjects or (subject == _ADDRESS and detail in _SENDER_DETAILS):
        return About.US
    return mail


def _stage(answer: aiosmtplib.SMTPResponseException) -> str:
    match answer:
        case aiosmtplib.SMTPConnectResponseError():
            return "greeting"
        case aiosmtplib.SMTPHeloError():
            return "ehlo"
        case aiosmtplib.SMTPAuthenticationError():
            return "auth"
        case aiosmtplib.SMTPSenderRefused():
            return "mail"
        case _:
            return "other"


def _start_tls(parts: SplitResult) -> bool | None:
    return {"smtp": None, "smtp+starttls": True, "smtps": False}[parts.scheme]
