"""Who may act for a membership, in the contract's order: it is there, the caller owns it, it was not revoked.

The same facts in the same words, whichever service is asked.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from services.runtime.fields import known_uuid
from vyris.errors import NotFound, Unauthorized

UNKNOWN: Final = "There is no such membership"


def known_membership_id(text: str) -> UUID:
    """The id that a caller sent. Raises NotFound: what is no UUID is no membership."""
    return known_uuid(text, unknown_membership())


def unknown_membership() -> NotFound:
    """What is said of a membership that is not there."""
    return NotFound(UNKNOWN)


def require_owner(owner_id: str, user_id: str, *, revoked: bool) -> None:
    """`user_id` must be the owner's, and the membership a live one. Raises Unauthorized."""
    if owner_id != user_id:
        raise Unauthorized("This membership belongs to another user")
    require_live(revoked=revoked)


def require_live(*, revoked: bool) -> None:
    """Raises Unauthorized."""
    if revoked:
        raise Unauthorized("This membership was revoked")
