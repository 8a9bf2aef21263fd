"""The register of encounters: one statement decides a batch of proven meetings."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg

from services.data.storage.columns import sparse
from services.encounter.encounter_token import Meeting, ProvenMeeting
from services.encounter.statements import QUERIES
from services.server.runtime.times import rfc3339
from vyris.encounter.v1 import encounter_pb2
from vyris.errors import Conflict, Unauthorized, VyrisError

STALE_MESSAGE: Final = "Encounter token: it is too old, expired, or its time has not come"
# The same message for unknown and revoked, so that a caller cannot learn which of the two it is.
UNKNOWN_MESSAGE: Final = "Encounter token: one of its memberships cannot take part"

# Runs a statement: a database's own `fetch`, or that of a connection inside a transaction.
Fetch = Callable[..., Awaitable[list[Any]]]


class Encounter(NamedTuple):
    """A recorded encounter."""

    id: UUID
    initiator_id: UUID
    receiver_id: UUID
    encountered_at: datetime
    verified_at: datetime

    def message(self) -> encounter_pb2.Encounter:
        """The encounter as a protobuf message."""
        return encounter_pb2.Encounter(
            id=str(self.id),
            initiator_id=str(self.initiator_id),
            receiver_id=str(self.receiver_id),
            encountered_at=rfc3339(self.encountered_at),
            verified_at=rfc3339(self.verified_at),
        )


class Register:
    """Records encounters. `leeway_s`: how far a signer's clock may be ahead of Postgres' clock, in seconds."""

    def __init__(self, leeway_s: int, *, keeps_locations: bool) -> None:
        self._leeway_s = leeway_s
        self._keeps_locations = keeps_locations

    async def record(self, fetch: Fetch, proven: Sequence[ProvenMeeting]) -> list[Encounter | VyrisError]:
        """Record a batch. Return for each meeting its encounter, or the error: Unauthorized or Conflict.

        `fetch` runs a statement; its errors pass through.
        """
        ids = _random_ids(len(proven))
        meetings = [item.meeting for item in proven]
        locations = [meeting.location if self._keeps_locations else None for meeting in meetings]
        rows = await fetch(
            QUERIES["record_encounters"],
            ids,
            [item.signing_key for item in proven],
            [meeting.jti for meeting in meetings],
            [meeting.initiator_id for meeting in meetings],
            [meeting.receiver_id for meeting in meetings],
            [meeting.issued_at_s for meeting in meetings],
            [meeting.begins_s for meeting in meetings],
            [meeting.ends_s for meeting in meetings],
            sparse([place.latitude_hundredths if place else None for place in locations]),
            sparse([place.longitude_hundredths if place else None for place in locations]),
            float(self._leeway_s),
        )
        by_id = {row["id"]: row for row in rows}
        return [_outcome(by_id.get(id_), item.meeting) for id_, item in zip(ids, proven, strict=True)]


def _outcome(row: asyncpg.Record | None, meeting: Meeting) -> Encounter | VyrisError:
    if row is None:
        return Conflict()
    if row["outcome"] != "recorded":
        return Unauthorized(STALE_MESSAGE if row["outcome"] == "stale" else UNKNOWN_MESSAGE)
    return Encounter(row["id"], meeting.initiator_id, meeting.receiver_id, row["encountered_at"], row["verified_at"])


def _random_ids(count: int) -> list[UUID]:
    """UUIDs of version 4 from one read of the system's randomness."""
    randomness = os.urandom(16 * count)
    return [UUID(bytes=randomness[start : start + 16], version=4) for start in range(0, 16 * count, 16)]
