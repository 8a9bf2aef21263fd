"""Who may act for a membership. The contract's order of checks: it exists, the caller owns it, it is not revoked.

All services give the same messages.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from services.server.runtime.fields import known_uuid
from vyris.errors import NotFound, Unauthorized

UNKNOWN: Final = "There is no such membership"


def known_membership_id(text: str) -> UUID:
    """Parse a membership's id. Raises NotFound, because a text that is not a UUID names no membership."""
    return known_uuid(text, unknown_membership())


def unknown_membership() -> NotFound:
    """The error for an unknown membership."""
    return NotFound(UNKNOWN)


def require_owner(owner_id: str, user_id: str, *, revoked: bool) -> None:
    """Check that `user_id` is the owner and the membership is live. Raises Unauthorized."""
    if owner_id != user_id:
        raise Unauthorized("This membership belongs to another user")
    require_live(revoked=revoked)


def require_live(*, revoked: bool) -> None:
    """Check that the membership is not revoked. Raises Unauthorized."""
    if revoked:
        raise Unauthorized("This membership was revoked")
