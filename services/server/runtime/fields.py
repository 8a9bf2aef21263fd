"""Parse and show fields that several services share. The contract sets their bounds."""

from __future__ import annotations

import re
from typing import Final
from uuid import UUID

from services.server.runtime.typed import typed_address
from vyris.errors import InvalidRequest, NotFound, VyrisError

_OPAQUE_ID: Final = re.compile(r"[\x20-\x7e]{1,128}")
TIER_FORM: Final = r"^[a-z0-9-]{1,32}$"
YEAR_FORM: Final = r"^(20[0-9]{2}|2100)$"
_TIER: Final = re.compile(TIER_FORM)
_YEAR: Final = re.compile(YEAR_FORM)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# Addresses that every mail server accepts: RFC 5321's dot-atoms in ASCII. Quoted names, comments and texts like an
# encoded word have two readings, and names in other scripts need servers with SMTPUTF8. Mail to such addresses gets
# lost, and the owner would notice only after losing the phone. Only a mail can show that an address works.
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL: Final = re.compile(rf"(?!.*=\?)(?=.{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
EMAIL_LIMIT: Final = 254
TYPED_EMAIL_LIMIT: Final = 512  # as typed: with blanks around it, in another spelling


def is_opaque_id(text: str) -> bool:
    """Whether it is 1 to 128 printable ASCII characters that are not all blank."""
    return _OPAQUE_ID.fullmatch(text) is not None and not text.isspace()


def opaque_id(name: str, text: str) -> str:
    """Check a `user_id` or `device_id`: 1 to 128 printable ASCII characters. Raises InvalidRequest."""
    if not is_opaque_id(text):
        raise InvalidRequest(f"{name} must be 1 to 128 printable ASCII characters")
    return text


def drop_name(tier: str, year: str) -> tuple[str, str]:
    """Check a drop's tier and year. Raises InvalidRequest."""
    if not _TIER.fullmatch(tier):
        raise InvalidRequest("tier must be 1 to 32 characters of a-z, 0-9 and -")
    if not _YEAR.fullmatch(year):
        raise InvalidRequest("year must be 2000 to 2100")
    return tier, year


def shown_tier(tier: str) -> str:
    """A tier as people write it: `late-summer` is `Late Summer`."""
    return " ".join(part.capitalize() for part in tier.split("-") if part)


def email_address(text: str) -> str:
    """Parse an e-mail address of at most 254 characters; `typed_address` normalises it. Raises InvalidRequest."""
    address = typed_address(text) if len(text) <= TYPED_EMAIL_LIMIT else text
    if len(address) > EMAIL_LIMIT or not _EMAIL.fullmatch(address):
        raise InvalidRequest("email must be an e-mail address of at most 254 ASCII characters")
    return address


def known_uuid(text: str, unknown: VyrisError | None = None) -> UUID:
    """Parse one of our ids. Raises `unknown` (by default NotFound), because a text that is not a UUID names nothing."""
    if not _UUID.fullmatch(text):
        raise unknown or NotFound()
    return UUID(text)


def is_longer(text: str, limit_bytes: int) -> bool:
    """Whether `text` has more than `limit_bytes` bytes in UTF-8."""
    return len(text) > limit_bytes or len(text.encode()) > limit_bytes


def refuse_nul(*texts: str) -> None:
    """Refuse U+0000, which Postgres cannot store. Raises InvalidRequest."""
    if any("\x00" in text for text in texts):
        raise InvalidRequest("The request holds a character that is not allowed (U+0000)")
