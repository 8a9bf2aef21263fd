"""Handing a mail to the mail server, and telling what its answers are about.

A mail is given up for good only where the server says no to the recipient or to this mail. What it says about us (the
greeting, EHLO, TLS, the login, MAIL FROM, its policy) and what it says for now (4xx) may be different in a minute: the
mail is tried again until it is of no use.

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
_PERMANENT: Final = 500
# Wherever they come, these are about our commands, our login or the server itself. 521, 556: it takes no mail at all.
_ABOUT_THE_SESSION: Final = frozenset({500, 501, 502, 503, 504, 521, 523, 530, 534, 535, 538, 555, 556})
_ENHANCED: Final = re.compile(r"\s*5\.(\d{1,3})\.(\d{1,3})\b")
# Subjects of RFC 3463 in answers that are about the mail: addresses, mailboxes, content. The others tell of the server
# (3), the network (4), the protocol (5), or of its policy towards us (7).
_ADDRESS, _MAILBOX, _CONTENT = 1, 2, 6
# X.1.7 and X.1.8 are about the sender's address.
_SENDER_DETAILS: Final = frozenset({7, 8})


class About(StrEnum):
    """Whom or what a failure is about."""

    RECIPIENT = "recipient"
    CONTENT = "content"
    US = "us"  # the sender: address, login, network, reputation
    SERVER = "server"  # not now (4xx)
    CONNECTION = "connection"  # no answer at all


class NotSent(Exception):
    """The server did not take the mail. `failure` is a word or a code; `permanent` if it never will.

    `stage` is the command that was refused, in lower case; empty where there was none.
    """

    def __init__(self, failure: str, *, permanent: bool, about: About = About.CONNECTION, stage: str = "") -> None:
        self.failure = failure
        self.permanent = permanent
        self.about = about
        self.stage = stage
        super().__init__(failure)


def is_smtp_url(url: str) -> bool:
    """Whether it names a mail server in one of the three ways."""
    try:
        parts = urlsplit(url)
        return parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0 and parts.path in ("", "/")
    except ValueError:
        return False


@dataclass(frozen=True)
class MailServer:
    """`smtps://` speaks TLS from the start, `smtp+starttls://` demands STARTTLS, `smtp://` takes it if offered."""

    url: str
    timeout_s: float  # for a whole mail

    async def send(self, message: EmailMessage, *, sender: str, recipient: str) -> None:
        """Hand over one mail. Raises NotSent."""
        parts = urlsplit(self.url)
        try:
            # The library's own limit is for each command of a mail.
            async with asyncio.timeout(self.timeout_s):
                await aiosmtplib.send(
                    message,
                    sender=sender,
                    recipients=[recipient],
                    hostname=parts.hostname,
                    port=parts.port or _PORTS[parts.scheme],
                    username=unquote(parts.username) if parts.username else None,
                    password=unquote(parts.password) if parts.password else None,
                    use_tls=parts.scheme == "smtps",
                    start_tls=_start_tls(parts),
                    tls_context=ssl.create_default_context() if parts.scheme != "smtp" else None,
                    timeout=self.timeout_s,
                )
        except aiosmtplib.SMTPRecipientsRefused as refusal:
            raise _refused_recipient(refusal) from None
        except aiosmtplib.SMTPResponseException as answer:
            raise _refused(answer) from None
        except aiosmtplib.SMTPNotSupported:
            # SMTPUTF8, which an address that is not ASCII needs. Without such an address it is STARTTLS or the login.
            unwritable = not recipient.isascii()
            about = About.RECIPIENT if unwritable else About.US
            failure = "server carries ASCII addresses alone" if unwritable else "SMTPNotSupported"
            raise NotSent(failure, permanent=unwritable, about=about, stage="rcpt" if unwritable else "ehlo") from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as problem:
            raise NotSent(type(problem).__name__, permanent=False) from None
        except ValueError:  # An address that no mail can carry; the sender's is checked at start.
            raise NotSent("address cannot be written", permanent=True, about=About.RECIPIENT, stage="rcpt") from None


def _refused_recipient(refusal: aiosmtplib.SMTPRecipientsRefused) -> NotSent:
    answer = refusal.recipients[0] if refusal.recipients else None
    code, text = (answer.code, answer.message) if answer else (_PERMANENT + 50, "")
    about = _about(code, text, {_ADDRESS, _MAILBOX}, About.RECIPIENT)
    return NotSent(f"recipient refused ({code})", permanent=about is About.RECIPIENT, about=about, stage="rcpt")


def _refused(answer: aiosmtplib.SMTPResponseException) -> NotSent:
    if isinstance(answer, aiosmtplib.SMTPDataError):
        about = _about(answer.code, answer.message, {_ADDRESS, _MAILBOX, _CONTENT}, About.CONTENT)
        return NotSent(f"server answered {answer.code}", permanent=about is About.CONTENT, about=about, stage="data")
    about = About.US if answer.code >= _PERMANENT else About.SERVER
    return NotSent(f"server answered {answer.code}", permanent=False, about=about, stage=_stage(answer))


def _about(code: int, text: str, subjects: set[int], mail: About) -> About:
    """Whom an answer to RCPT or DATA is about: `mail`, us, or the server for now."""
    if code < _PERMANENT:
        return About.SERVER
    if code in _ABOUT_THE_SESSION:
        return About.US
    enhanced = _ENHANCED.match(text)
    if enhanced is None:
        return mail
    subject, detail = int(enhanced[1]), int(enhanced[2])
    if subject == 0:  # "other": it says no more than the code
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
