"""Parse and show fields that several services share. The protos state their bounds."""

from __future__ import annotations

import re
from typing import Final
from uuid import UUID

from services.server.runtime.request_checks import compile_complaint
from services.server.runtime.typed import typed_address
from vyris.bounds import field_bounds, limit_of
from vyris.errors import InvalidRequest, NotFound, VyrisError
from vyris.mint.v1 import mint_pb2

TIER: Final = field_bounds(mint_pb2.GetDropRequest, "tier")
YEAR: Final = field_bounds(mint_pb2.GetDropRequest, "year")
_complain_of_tier = compile_complaint(TIER, "tier")
_complain_of_year = compile_complaint(YEAR, "year")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# Addresses that every mail server accepts: RFC 5321's dot-atoms in ASCII. Quoted names, comments and texts like an
# encoded word have two readings, and names in other scripts need servers with SMTPUTF8. Mail to such addresses gets
# lost, and the owner would notice only after losing the phone. Only a mail can show that an address works.
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL: Final = re.compile(rf"(?!.*=\?)(?=.{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
EMAIL_LIMIT: Final = limit_of(mint_pb2.MintRequest, "email")
TYPED_EMAIL_LIMIT: Final = 512  # as typed: with blanks around it, in another spelling


def drop_name(tier: str, year: str) -> tuple[str, str]:
    """Check a drop's tier and year. Raises InvalidRequest."""
    complaint = _complain_of_tier(tier) or _complain_of_year(year)
    if complaint is not None:
        raise InvalidRequest(complaint)
    return tier, year


def shown_tier(tier: str) -> str:
    """A tier as people write it: `late-summer` is `Late Summer`."""
    return " ".join(part.capitalize() for part in tier.split("-") if part)


def email_address(text: str) -> str:
    """Parse an e-mail address of at most EMAIL_LIMIT characters; `typed_address` normalises it.

    Raises InvalidRequest.
    """
    address = typed_address(text) if len(text) <= TYPED_EMAIL_LIMIT else text
    if len(address) > EMAIL_LIMIT or not _EMAIL.fullmatch(address):
        raise InvalidRequest(f"email must be an e-mail address of at most {EMAIL_LIMIT} ASCII characters")
    return address


def has_uuid_form(text: str) -> bool:
    """Whether `text` is a UUID as it is written everywhere (RFC 9562): 32 hexadecimal digits with four hyphens."""
    return _UUID.fullmatch(text) is not None


def known_uuid(text: str, unknown: VyrisError | None = None) -> UUID:
    """Parse one of our ids. Raises `unknown` (by default NotFound), because a text that is not a UUID names nothing."""
    if not has_uuid_form(text):
        raise unknown or NotFound()
    return UUID(text)


def is_longer(text: str, limit_bytes: int) -> bool:
    """Whether `text` has more than `limit_bytes` bytes in UTF-8."""
    return len(text) > limit_bytes or len(text.encode()) > limit_bytes


def refuse_nul(*texts: str) -> None:
    """Refuse U+0000, which Postgres cannot store. Raises InvalidRequest."""
    if any("\x00" in text for text in texts):
        raise InvalidRequest("The request holds a character that is not allowed (U+0000)")
