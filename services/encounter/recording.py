"""Proven meetings are recorded in batches: whatever arrived while the batch before was in flight."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import structlog

from services.batching.batcher import Batcher, Group
from services.encounter import metrics
from services.encounter.encounter_token import ProvenMeeting
from services.encounter.register import Encounter, Register
from services.encounter.settings import EncounterSettings
from services.storage.bisection import around_refused
from services.storage.database import Database
from services.storage.failures import DatabaseUnavailable, DataRejected
from vyris.errors import Conflict, Retryable, VyrisError

log = structlog.get_logger(__name__)

# Copies of one token stand in one group, by its text. Tokens that share signer and jti but differ do not: each is
# judged by what it says, and the replay guard lets one of them in.
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
        """The encounter that `token` proves. Raises Unauthorized, Conflict, Retryable."""
        return await self._batcher.submit(token, proven, deadline_s)

    async def close(self) -> None:
        """Answer whoever still waits, with Retryable."""
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
    """The first copy gets the encounter, the others hear that it is recorded; a refusal is everybody's."""
    if isinstance(outcome, VyrisError):
        return lambda _, __: outcome
    return lambda _, is_first: outcome if is_first else Conflict()
