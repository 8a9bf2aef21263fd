"""The audit log: who did what, to what, and why. Append-only; the operator alone reads it (`audit_log` in schema/)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from services.storage.connections import Connection
from services.storage.queries import Queries

REASON_LIMIT: Final = 500
"""Characters of a reason that are kept."""

_QUERIES: Final = Queries.beside(__file__)


async def append(
    connection: Connection, *, actor: str, action: str, subject: str, reason: str, details: Mapping[str, Any]
) -> None:
    """Note it in the transaction of what was done: both are kept, or neither."""
    await connection.execute(
        _QUERIES["append"], actor, action, subject, reason[:REASON_LIMIT], json.dumps(dict(details))
    )
