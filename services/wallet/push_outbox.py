"""Send the pushes of updates: each at least once, with growing pauses, until an attempt is the last one.

A push is written in the transaction of its update. Its row has the number of attempts and the next due time, so retries
survive restarts (`services/data/storage/outbox.py`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import asyncpg
import structlog

from services.data.storage.database import Database
from services.data.storage.outbox import Outbox, OutboxLimits, OutboxStatements
from services.wallet import metrics
from services.wallet.apns import ApnsClient, PushAnswer, PushOutcome
from services.wallet.statements import QUERIES

log = structlog.get_logger(__name__)

BATCH_LIMIT: Final = 50
# The lease is longer than an attempt may take.
LIMITS: Final = OutboxLimits(BATCH_LIMIT, lease_s=60.0, first_pause_s=1.0, longest_pause_s=3_600.0)
STATEMENTS: Final = OutboxStatements(
    take=QUERIES["take_pushes"],
    done=QUERIES["finish_push"],
    later=QUERIES["postpone_push"],
    give_up=QUERIES["finish_push"],
    count=QUERIES["count_pushes"],
)
# Further attempts while Apple refuses us, an hour apart: a week. If a certificate expires on a Friday and is renewed
# on a Monday, the pushes of the weekend must still be sent.
REFUSED_ATTEMPTS: Final = 7 * 24
PAUSE_AFTER_FAILURE_S: Final = 2.0


class PushOutbox:
    """Empties `pass_pushes`. Several processes may run one each."""

    def __init__(self, database: Database, apns: ApnsClient | None, *, attempt_limit: int) -> None:
        """`apns`: None if APNs is not configured; then pushes are skipped, and counted as skipped."""
        self._database = database
        self._outbox = Outbox(database, STATEMENTS, LIMITS)
        self._apns = apns
        self._attempt_limit = attempt_limit
        if apns is None:
            log.warning(
                "pushes_are_skipped",
                reason="passes are signed by the development chain and APNS_URL is not set: no phone hears of a change",
            )

    async def once(self) -> bool:
        """Send one batch. Return True if more may be waiting. Raises DatabaseFailed."""
        sent = await self.send_due()
        owed, oldest_s = await self._outbox.count()
        metrics.PUSHES_OWED.set(owed)
        metrics.OLDEST_PUSH_S.set(oldest_s)
        return sent == BATCH_LIMIT

    async def send_due(self) -> int:
        """Send one batch. Return its size. Raises DatabaseFailed."""
        return await self._outbox.send_batch(self._send)

    async def _send(self, row: asyncpg.Record) -> None:
        token, version, attempts = row["push_token"], row["version"], row["attempts"]
        answer = await self._attempt(token, attempts)
        metrics.PUSHES.labels(answer.outcome.value).inc()
        match answer.outcome:
            case PushOutcome.RETRY | PushOutcome.REFUSED:
                event = "push_failed" if answer.outcome is PushOutcome.RETRY else "apns_refuses_us"
                log.warning(event, reason=answer.reason, attempts=attempts)
                await self._outbox.later(attempts, token, version)
                return
            case PushOutcome.GAVE_UP:
                log.error("push_given_up", reason=answer.reason, attempts=attempts)
                await self._outbox.give_up(token, version)
                return
            case PushOutcome.GONE:
                log.info("push_token_gone", reason=answer.reason)
                await self._database.execute(QUERIES["forget_push_token"], token, answer.gone_since_s)
        await self._outbox.done(token, version)

    async def _attempt(self, token: str, attempts: int) -> PushAnswer:
        if self._apns is None:
            return PushAnswer(PushOutcome.SKIPPED, "no APNs")
        answer = await self._apns.push(token)
        if answer.outcome in {PushOutcome.RETRY, PushOutcome.REFUSED} and attempts >= self._limit(answer.outcome):
            return replace(answer, outcome=PushOutcome.GAVE_UP)
        return answer

    def _limit(self, outcome: PushOutcome) -> int:
        """Return the attempts before a push is given up: while Apple refuses us, a week of them more."""
        return self._attempt_limit + (REFUSED_ATTEMPTS if outcome is PushOutcome.REFUSED else 0)
