"""Handing a mail to the mail server, and telling its failures apart."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import aiosmtplib

_PORTS: Final = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
_PERMANENT: Final = 500
# What a server says about us or itself rather than about the mail: worth another attempt.
_ABOUT_THE_SERVER: Final = frozenset({502, 503, 504, 530, 534, 535, 538})


class NotSent(Exception):
    """The server did not take the mail. `failure` is a word or a code; `permanent` if it never will."""

    def __init__(self, failure: str, *, permanent: bool) -> None:
        self.failure = failure
        self.permanent = permanent
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
            code = refusal.recipients[0].code if refusal.recipients else _PERMANENT
            raise NotSent(f"recipient refused ({code})", permanent=code >= _PERMANENT) from None
        except aiosmtplib.SMTPResponseException as answer:
            permanent = answer.code >= _PERMANENT and answer.code not in _ABOUT_THE_SERVER
            raise NotSent(f"server answered {answer.code}", permanent=permanent) from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as problem:
            raise NotSent(type(problem).__name__, permanent=False) from None
        except ValueError:  # An address that no mail can carry.
            raise NotSent("address cannot be written", permanent=True) from None


def _start_tls(parts: SplitResult) -> bool | None:
    return {"smtp": None, "smtp+starttls": True, "smtps": False}[parts.scheme]
