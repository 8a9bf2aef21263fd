"""Write mails as text and HTML, from the templates in `templates/mail`."""

from __future__ import annotations

from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Final

import jinja2

from services.reforge.outbox import Mail, MailKind
from services.reforge.smtp import About, NotSent
from services.reforge.tokens import Purpose, TokenKey
from services.server.runtime.typed import typed_address

TEMPLATES: Final = Path(__file__).parent / "templates"

SUBJECTS: Final = {
    MailKind.CONFIRM: "Move your membership to a new device?",
    MailKind.MOVED: "Your membership moved to a new device",
    MailKind.MOVED_SINCE: "Your membership moved to a new device",
    MailKind.REFUSED: "The move of your membership was refused",
    MailKind.UNDONE: "The move of your membership was taken back",
    MailKind.EMAIL_CHANGE: "The e-mail address of your membership changes",
    MailKind.EMAIL_CONFIRM: "Use this address for your membership?",
    MailKind.EMAIL_UNDONE: "The change of your address was taken back",
    MailKind.RECOVERED: "This address now decides about your membership",
}


@dataclass(frozen=True, slots=True)
class Link:
    """A path below the base URL, and the purpose of its token."""

    path: str
    purpose: Purpose


LINKS: Final[dict[MailKind, dict[str, Link]]] = {
    MailKind.CONFIRM: {
        "confirm_link": Link("/reforge/confirm", Purpose.MOVE),
        "refuse_link": Link("/reforge/refuse", Purpose.MOVE),
    },
    MailKind.MOVED: {"undo_link": Link("/reforge/undo", Purpose.UNDO)},
    MailKind.MOVED_SINCE: {"refuse_link": Link("/reforge/refuse", Purpose.REFUSE_EMAIL)},
    MailKind.REFUSED: {},
    MailKind.UNDONE: {},
    MailKind.EMAIL_CHANGE: {"refuse_link": Link("/reforge/refuse", Purpose.REFUSE_EMAIL)},
    MailKind.EMAIL_CONFIRM: {"confirm_link": Link("/reforge/confirm", Purpose.CONFIRM_EMAIL)},
    MailKind.EMAIL_UNDONE: {},
    MailKind.RECOVERED: {},
}


class MailWriter:
    """Writes mails. Computes the tokens, which appear only in the mail."""

    def __init__(self, keys: TokenKey, *, base_url: str, sender: Address) -> None:
        self._keys = keys
        self._base_url = base_url
        self._sender = sender
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES / "mail"),
            autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",), default=False),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )

    def write(self, mail: Mail) -> EmailMessage:
        """Render the mail, ready to send. Raises NotSent if the recipient is not a valid mail address."""
        facts = {**mail.facts, **self._links(mail), "subject": SUBJECTS[mail.kind]}
        message = EmailMessage()
        message["From"] = self._sender
        try:
            message["To"] = Address(addr_spec=typed_address(mail.recipient))
        except Exception:  # The standard library raises several classes for an invalid address.
            raise NotSent("address cannot be written", permanent=True, about=About.RECIPIENT, stage="rcpt") from None
        message["Subject"] = SUBJECTS[mail.kind]
        message["Date"] = format_datetime(mail.written_at)
        message["Message-ID"] = f"<{mail.message_id}@{self._sender.domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(self._templates.get_template(f"{mail.kind}.txt.j2").render(facts))
        message.add_alternative(self._templates.get_template(f"{mail.kind}.html.j2").render(facts), subtype="html")
        return message

    def _links(self, mail: Mail) -> dict[str, str]:
        return {
            name: f"{self._base_url}{link.path}?token="
            + self._keys.stored_token(link.purpose, mail.subject_id, mail.digests)
            for name, link in LINKS[mail.kind].items()
        }
