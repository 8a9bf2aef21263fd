"""Mail in the outbox: written in the transaction that makes it true, worked off by `mail_worker.py`."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.data.storage.outbox import Outbox, OutboxLimits, OutboxStatements
from services.reforge.statements import QUERIES

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
    digests: Collection[bytes] = ()
    """The stored digests of the tokens of its subject."""


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


def mail_outbox(database: Database, *, lease_s: float, first_pause_s: float, longest_pause_s: float) -> Outbox:
    """The outbox `mail_outbox`. The key of a mail is its id; a failure, a word or a code, stands after it."""
    statements = OutboxStatements(
        take=QUERIES["take_mail"],
        done=QUERIES["finish_mail"],
        later=QUERIES["postpone_mail"],
        give_up=QUERIES["give_mail_up"],
        count=QUERIES["count_mail"],
    )
    return Outbox(database, statements, OutboxLimits(BATCH_LIMIT, lease_s, first_pause_s, longest_pause_s))


def read_mail(row: asyncpg.Record) -> Mail:
    """A row of `take_mail`."""
    return Mail(
        message_id=row["id"],
        kind=MailKind(row["kind"]),
        subject_id=row["subject_id"],
        recipient=row["recipient"],
        facts=json.loads(row["facts"]),
        written_at=row["created_at"],
        attempts=row["attempts"],
        useless=row["useless"],
        digests=row["digests"],
    )
