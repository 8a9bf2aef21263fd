"""Record proven meetings in batches.

A batch contains all meetings that arrived while the previous one was in flight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import structlog

from services.data.batching.batcher import Batcher, Group
from services.data.storage.bisection import around_refused
from services.data.storage.database import Database
from services.data.storage.failures import DatabaseUnavailable, DataRejected
from services.encounter import metrics
from services.encounter.encounter_token import ProvenMeeting
from services.encounter.register import Encounter, Register
from services.encounter.settings import EncounterSettings
from vyris.errors import Conflict, Retryable, VyrisError

log = structlog.get_logger(__name__)

# Copies of one token form one group, by its text. Different tokens with the same signer and jti do not: each is checked
# by its own claims, and the unique key lets one of them in.
Copies: TypeAlias = Group[str, ProvenMeeting, Encounter]


class Recorder:
    """Puts meetings into batches and answers for each."""

    def __init__(self, database: Database, register: Register, settings: EncounterSettings) -> None:
        self._database = database
        self._register = register
        self._batcher: Batcher[str, ProvenMeeting, Encounter] = Batcher(
            self._process,
            name="encounters",
            waiting_limit=settings.encounter_queue_limit,
            batch_limit=settings.encounter_batch_limit,
        )

    async def record(self, token: str, proven: ProvenMeeting, deadline_s: float) -> Encounter:
        """Record the meeting and return its encounter. Raises Unauthorized, Conflict, Retryable.

        `token` is the token's text, by which copies are found. `deadline_s` is the time that the caller still waits.
        """
        return await self._batcher.submit(token, proven, deadline_s)

    async def close(self) -> None:
        """Answer all waiting callers with Retryable."""
        await self._batcher.close()

    async def _process(self, batch: list[Copies]) -> list[Copies]:
        metrics.BATCH_TOKENS.observe(len(batch))
        try:
            with metrics.RECORD_SECONDS.time():
                await around_refused(batch, self._settle, _refuse)
        except DatabaseUnavailable as error:
            log.warning("batch_unfinished", tokens=len(batch), error=error.cause)
            for copies in batch:
                copies.settle_all(Retryable())
        return []

    async def _settle(self, batch: list[Copies]) -> None:
        outcomes = await self._register.record(self._database.fetch, [copies.first for copies in batch])
        for copies, outcome in zip(batch, outcomes, strict=True):
            copies.settle(_answer(outcome))


async def _refuse(copies: Copies, refusal: DataRejected) -> None:
    log.error("token_poisoned", cause=refusal.cause)
    copies.settle_all(Retryable())


def _answer(outcome: Encounter | VyrisError) -> Callable[[ProvenMeeting, bool], Encounter | VyrisError]:
    """The first copy gets the encounter, the others get Conflict. If it is refused, all copies get the refusal."""
    if isinstance(outcome, VyrisError):
        return lambda _, __: outcome
    return lambda _, is_first: outcome if is_first else Conflict()
