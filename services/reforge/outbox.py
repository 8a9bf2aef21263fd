"""The outbox: mail written in the transaction that makes it true, taken by a worker under a lease."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid4

from services.reforge.statements import QUERIES
from services.storage.connections import Connection
from services.storage.database import Database

# Sent side by side, so that a batch takes no longer than its slowest mail and ends inside the lease.
BATCH_LIMIT: Final = 5
# A notice is of use for so long after what it tells of is final.
NOTICE_LIFETIME: Final = timedelta(days=3)


class MailKind(StrEnum):
    """Which template a mail is written from."""

    CONFIRM = "confirm"  # the link that confirms or refuses a move
    MOVED = "moved"  # a move happened; the link that undoes it
    MOVED_SINCE = "moved_since"  # to the address before: a move happened since it was replaced
    REFUSED = "refused"  # the device refused a move
    UNDONE = "undone"  # a move was taken back
    EMAIL_CHANGE = "email_change"  # to the old address: it will change, or has; the link that keeps it
    EMAIL_CONFIRM = "email_confirm"  # to the new address: the link that confirms it
    EMAIL_UNDONE = "email_undone"  # to the new address: the old one took the change back
    RECOVERED = "recovered"  # to the new address: an operator's change took effect


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail taken from the outbox. `message_id` is the same however often it is sent."""

    message_id: UUID
    kind: MailKind
    subject_id: UUID
    recipient: str
    facts: Mapping[str, Any]
    written_at: datetime
    attempts: int
    useless: bool


async def enqueue(
    connection: Connection,
    kind: MailKind,
    subject_id: UUID,
    *,
    recipient: str,
    facts: Mapping[str, Any],
    useless_after: datetime,
) -> None:
    """Write a mail inside the caller's transaction. `facts` carry no token."""
    await connection.execute(
        QUERIES["enqueue_mail"], uuid4(), kind, subject_id, recipient, json.dumps(dict(facts)), useless_after
    )


class Outbox:
    """Mail that waits."""

    def __init__(self, database: Database, *, lease_s: float, retry_s: float, retry_limit_s: float) -> None:
        self._database = database
        self._lease_s = lease_s
        self._retry_s = retry_s
        self._retry_limit_s = retry_limit_s

    async def take(self) -> list[Mail]:
        """Mail that is due, at most a batch of it; nobody else takes it during the lease."""
        rows = await self._database.fetch(QUERIES["take_mail"], BATCH_LIMIT, self._lease_s)
        return [
            Mail(
                message_id=row["id"],
                kind=MailKind(row["kind"]),
                subject_id=row["subject_id"],
                recipient=row["recipient"],
                facts=json.loads(row["facts"]),
                written_at=row["created_at"],
                attempts=row["attempts"],
                useless=row["useless"],
            )
            for row in rows
        ]

    async def sent(self, mail: Mail) -> None:
        """The mail server took it."""
        await self._database.execute(QUERIES["mark_sent"], mail.message_id)

    async def failed(self, mail: Mail, failure: str) -> None:
        """Try it again after a pause that doubles. `failure` is a word or a code, never a server's text."""
        await self._database.execute(
            QUERIES["mark_failed"], mail.message_id, failure, self._retry_s, self._retry_limit_s
        )

    async def gave_up(self, mail: Mail, failure: str) -> None:
        """Never try it again."""
        await self._database.execute(QUERIES["mark_given_up"], mail.message_id, failure)

    async def waiting(self) -> tuple[int, float]:
        """How much mail waits, and for how many seconds the oldest has."""
        row = await self._database.fetchrow(QUERIES["count_waiting"])
        return (row["waiting"], row["oldest_s"]) if row else (0, 0.0)
