"""The audit log: who did what, to what, and why.

Append-only: a trigger refuses every change of an entry (migration 0011). The actor gives its name; Postgres itself adds
the login and the address of the session. Only operators can read it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.data.storage.queries import Queries
from vyris.bounds import limit_of
from vyris.reforge.v1 import operator_pb2

REASON_LIMIT: Final = limit_of(operator_pb2.ChangeOwnerEmailRequest, "reason")
"""The most characters of a reason that are stored."""

_QUERIES: Final = Queries.beside(__file__)
_appended: ContextVar[list[str] | None] = ContextVar("_appended", default=None)
T = TypeVar("T")


async def append(
    connection: Connection, *, actor: str, action: str, subject: str, reason: str, details: Mapping[str, Any]
) -> None:
    """Append an entry in the transaction of the change, so that both are stored, or neither."""
    await connection.execute(
        _QUERIES["append"], actor, action, subject, reason[:REASON_LIMIT], json.dumps(dict(details))
    )
    appended = _appended.get()
    if appended is not None:
        appended.append(action)


@dataclass(frozen=True, slots=True)
class Actor:
    """A person who changes something, and why."""

    name: str
    reason: str

    async def note(self, connection: Connection, action: str, subject: str, **details: Any) -> None:
        """Append an entry with this actor's name and reason."""
        await append(connection, actor=self.name, action=action, subject=subject, reason=self.reason, details=details)


class Unaudited(Exception):
    """A change appended no entry, which is a defect. The change was rolled back."""


async def audited(database: Database, work: Callable[[Connection], Awaitable[T]], *, takes_minutes: bool = False) -> T:
    """Run an operator's change in one transaction. Every such change goes through here.

    If `work` returns a true value, it has changed something and must have appended an entry. Otherwise the transaction
    is rolled back, and Unaudited is raised. Raises the errors of Database.in_transaction.
    """

    async def run(connection: Connection) -> T:
        appended: list[str] = []
        _appended.set(appended)
        result = await work(connection)
        if result and not appended:
            raise Unaudited("a change left no entry in the audit log")
        return result

    return await (database.in_long_transaction(run) if takes_minutes else database.in_transaction(run))
