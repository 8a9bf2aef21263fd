"""The facts about a request that mails and pages show, safe to read for its owner.

The caller chooses a device's name. It could be a URL that a mail program turns into a link. So only letters, digits,
spaces and `'(),+_-` are shown unchanged, and at most 48 characters.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

from services.reforge.rows import NamedMembership, Request
from services.server.runtime.fields import shown_tier

NAME_LIMIT: Final = 48
_LINKABLE: Final = re.compile(r"[^A-Za-z0-9 '(),+_-]")


def format_name(device_id: str) -> str:
    """A device's name in a form that is safe to show."""
    name = _LINKABLE.sub("·", device_id)
    return name if len(name) <= NAME_LIMIT else name[: NAME_LIMIT - 1] + "…"


def format_time(moment: datetime) -> str:
    """A time for people: `23 November 2026, 05:50 UTC`."""
    at = moment.astimezone(UTC)
    return f"{at.day} {at:%B %Y, %H:%M} UTC"


def format_membership(membership: NamedMembership) -> str:
    """`Genesis 2025 · № 7`."""
    return f"{shown_tier(membership.tier)} {membership.year} · № {membership.sequence_num}"


def request_facts(request: Request) -> dict[str, Any]:
    """The template values for a request to move a membership."""
    return {
        "membership": format_membership(request),
        "device": format_name(request.new_device_id),
        "device_key": request.new_thumbprint[:8],
        "asked_at": format_time(request.created_at),
        "asked_from": request.asked_from,
        "expires_at": format_time(request.expires_at),
        "proven": request.proven,
        "code_required": request.code_required,
    }
