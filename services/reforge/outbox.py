"""Mail in the outbox: written in the transaction of its cause, sent by `mail_worker.py`."""

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

# Sent in parallel, so that a batch takes as long as its slowest mail and ends within the lease.
BATCH_LIMIT: Final = 5
# How long a notice is still sent after its subject is final.
NOTICE_LIFETIME: Final = timedelta(days=3)


class MailKind(StrEnum):
    """The template of a mail."""

    CONFIRM = "confirm"  # the link that confirms or refuses a move
    MOVED = "moved"  # a move happened; the link that undoes it
    MOVED_SINCE = "moved_since"  # to a replaced address: a move happened after it was replaced
    REFUSED = "refused"  # the device refused a move
    UNDONE = "undone"  # a move was undone
    EMAIL_CHANGE = "email_change"  # to the old address: it will change, or has; the link that keeps it
    EMAIL_CONFIRM = "email_confirm"  # to the new address: the link that confirms it
    EMAIL_UNDONE = "email_undone"  # to the new address: the old one undid the change
    RECOVERED = "recovered"  # to the new address: an operator's change took effect


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail taken from the outbox. `message_id` is the same for every attempt."""

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
    """Write a mail in the caller's transaction. `facts` contain no token."""
    await connection.execute(
        QUERIES["enqueue_mail"], uuid4(), kind, subject_id, recipient, json.dumps(dict(facts)), useless_after
    )


def mail_outbox(database: Database, *, lease_s: float, first_pause_s: float, longest_pause_s: float) -> Outbox:
    """The outbox `mail_outbox`. Its statements take the mail's id, then the failure: a word or a code."""
    statements = OutboxStatements(
        take=QUERIES["take_mail"],
        done=QUERIES["finish_mail"],
        later=QUERIES["postpone_mail"],
        give_up=QUERIES["give_mail_up"],
        count=QUERIES["count_mail"],
    )
    return Outbox(database, statements, OutboxLimits(BATCH_LIMIT, lease_s, first_pause_s, longest_pause_s))


def read_mail(row: asyncpg.Record) -> Mail:
    """Parse a row of `take_mail`."""
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
