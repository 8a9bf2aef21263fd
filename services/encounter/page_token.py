"""Page tokens: a position in a membership's list, opaque to callers.

A token contains the time and the id of the last encounter on the page. It grants no access: its sender must still prove
to be the membership's device, and a forged token only names another position in the same list.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from services.identity.jose import NotStrict, decode_base64url
from vyris.device_keys import base64url
from vyris.errors import InvalidRequest

# Version, microseconds since 1970, id.
_FORM: Final = struct.Struct(">BQ16s")
_VERSION: Final = 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MICROSECOND: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1) - 1
TEXT_LENGTH: Final = 34


@dataclass(frozen=True, slots=True)
class Position:
    """The last encounter on a page."""

    verified_at: datetime
    id: UUID


def encode(position: Position) -> str:
    """Encode a position as a token of 34 characters."""
    microseconds = (position.verified_at - _EPOCH) // timedelta(microseconds=1)
    return base64url(_FORM.pack(_VERSION, microseconds, position.id.bytes))


def decode(text: str) -> Position:
    """Decode a token. Raises InvalidRequest for a text that `encode` cannot have made."""
    try:
        version, microseconds, id_ = _FORM.unpack(decode_base64url(text) if len(text) == TEXT_LENGTH else b"")
    except (NotStrict, struct.error):
        raise InvalidRequest("page_token is not one that this service gave") from None
    if version != _VERSION or microseconds > _LAST_MICROSECOND:
        raise InvalidRequest("page_token is not one that this service gave")
    return Position(_EPOCH + timedelta(microseconds=microseconds), UUID(bytes=id_))
