"""Sends the pushes that updates owe: at least once, with growing pauses, never for ever.

A push was written in the transaction of its update. Taking one leases it: should
this process die, it is due again when the lease ends. The number of attempts and
the next due time live in the row, so retries survive restarts.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

import asyncpg
import structlog

from services.storage.database import Database
from services.storage.rounds import repeat
from services.wallet import metrics
from services.wallet.apns import ApnsClient, PushAnswer, PushOutcome
from services.wallet.statements import QUERIES

log = structlog.get_logger(__name__)

BATCH_LIMIT: Final = 50
LEASE_S: Final = 60.0  # Longer than an attempt may take.
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 3_600.0
# A certificate that ended on a Friday is renewed on a Monday: what was owed meanwhile must still be sent.
REFUSED_ATTEMPTS: Final = 7 * 24
PAUSE_AFTER_FAILURE_S: Final = 2.0


class PushOutbox:
    """Empties `pass_pushes`. Several processes may run one each."""

    def __init__(self, database: Database, apns: ApnsClient | None, *, interval_s: float, attempt_limit: int) -> None:
        """`apns` is None where there is no APNs to push to: pushes are then skipped, and counted so."""
        self._database = database
        self._apns = apns
        self._interval_s = interval_s
        self._attempt_limit = attempt_limit

    async def run(self) -> None:
        """Send until cancelled."""
        if self._apns is None:
            log.warning(
                "pushes_are_skipped",
                reason="passes are signed by the development chain and APNS_URL is not set: no phone hears of a change",
            )
        await repeat(
            self._round_leaves_more,
            interval_s=self._interval_s,
            failure_event="pushes_not_sent",
            pause_after_failure_s=PAUSE_AFTER_FAILURE_S,
        )

    async def _round_leaves_more(self) -> bool:
        taken = await self.send_due()
        await self._measure()
        return taken == BATCH_LIMIT

    async def send_due(self) -> int:
        """Send one batch; returns how many it had. Raises DatabaseUnavailable."""
        rows = await self._database.fetch(QUERIES["take_due_pushes"], LEASE_S, BATCH_LIMIT)
        await asyncio.gather(*(self._send(row) for row in rows))
        return len(rows)

    async def _send(self, row: asyncpg.Record) -> None:
        token, version, attempts = row["push_token"], row["version"], row["attempts"]
        answer = await self._attempt(token, attempts)
        metrics.PUSHES.labels(answer.outcome.value).inc()
        match answer.outcome:
            case PushOutcome.RETRY | PushOutcome.REFUSED:
                event = "push_failed" if answer.outcome is PushOutcome.RETRY else "apns_refuses_us"
                log.warning(event, reason=answer.reason, attempts=attempts)
                await self._database.execute(QUERIES["postpone_push"], token, version, FIRST_PAUSE_S, LONGEST_PAUSE_S)
                return
            case PushOutcome.GAVE_UP:
                log.error("push_given_up", reason=answer.reason, attempts=attempts)
            case PushOutcome.GONE:
                log.info("push_token_gone", reason=answer.reason)
                await self._database.execute(QUERIES["forget_push_token"], token, answer.gone_since_s)
        await self._database.execute(QUERIES["finish_push"], token, version)

    async def _attempt(self, token: str, attempts: int) -> PushAnswer:
        if self._apns is None:
            return PushAnswer(PushOutcome.SKIPPED, "no APNs")
        answer = await self._apns.push(token)
        if answer.outcome in {PushOutcome.RETRY, PushOutcome.REFUSED} and attempts >= self._limit(answer.outcome):
            return replace(answer, outcome=PushOutcome.GAVE_UP)
        return answer

    def _limit(self, outcome: PushOutcome) -> int:
        """Attempts before a push is given up; where Apple refuses us, a week more, an hour apart."""
        return self._attempt_limit + (REFUSED_ATTEMPTS if outcome is PushOutcome.REFUSED else 0)

    async def _measure(self) -> None:
        row = await self._database.fetchrow(QUERIES["count_owed_pushes"])
        if row is not None:
            metrics.PUSHES_OWED.set(row["owed"])
            metrics.OLDEST_PUSH_S.set(row["oldest_s"])
