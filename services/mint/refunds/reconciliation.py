"""Compare Apple's histories with our notifications, and apply missed ones.

A notification is lost if our address was not set yet, or if we did not answer for three days. Apple's notification
history has the last 180 days, its refund history all refunds. Each item is verified like a notification and takes
effect once, so a round may be repeated at any time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, get_args

import structlog

from services.data.storage.database import Database
from services.mint.receipts.app_store_signatures import NotSigned
from services.mint.receipts.app_store_transaction import KIND
from services.mint.receipts.verified import Environment
from services.mint.refunds.app_store import AppStoreNotices
from services.mint.refunds.apple_history import AppleHistory, HistoryUnreadable
from services.mint.refunds.application import IGNORED_LIMIT, Refunds
from services.mint.refunds.notice import Event, Notice
from services.mint.refunds.statements import QUERIES
from vyris.errors import Retryable, Unauthorized

HISTORY: Final = timedelta(days=179)  # Apple keeps 180
STRETCH: Final = timedelta(days=7)
# Finds notifications that Apple lists later than it sent them.
OVERLAP: Final = timedelta(hours=1)
PURCHASES_A_ROUND: Final = 100
PURCHASES_A_PAGE: Final = 500
ROUND_LIMIT_S: Final = 900.0  # for one environment
READ_ATTEMPTS: Final = 5
READ_PAUSE_S: Final = 0.5
IGNORED_ROUNDS: Final = 100

log = structlog.get_logger(__name__)


@dataclass
class Findings:
    """The findings of a reconciliation in one environment."""

    environment: Environment
    notifications: int = 0  # in Apple's history
    purchases: int = 0  # with a refund history that was read
    refunds: int = 0  # transactions in it
    unreadable: int = 0  # items that are forged, or for another app
    applied: Counter[str] = field(default_factory=Counter)  # missed ones, by outcome
    problem: str = ""  # why it ended early

    def as_row(self) -> dict[str, object]:
        """For a table, JSON and the audit log."""
        return {
            "environment": self.environment,
            "notifications": self.notifications,
            "purchases": self.purchases,
            "refunds": self.refunds,
            "missed": sum(self.applied.values()),
            "outcomes": dict(self.applied),
            "unreadable": self.unreadable,
            "problem": self.problem,
        }


class Reconciler:
    """Reconciles one database with Apple's histories, if there are any."""

    def __init__(
        self, database: Database, notices: AppStoreNotices | None, histories: Sequence[AppleHistory], interval_s: float
    ) -> None:
        self._database = database
        self._refunds = Refunds(database)
        self._notices = notices
        self._histories = histories
        self._interval_s = interval_s

    async def once(self) -> None:
        """Apply refunds that earlier versions ignored; then, if it is time, read Apple's histories. Raises Retryable.

        One process at a time reconciles, and continues where the last one ended.
        """
        await self.apply_ignored()
        for history in self._histories:
            found = Findings(history.environment)
            row = await self._database.fetchrow(
                QUERIES["claim_reconciliation"], history.environment, _now() - HISTORY, self._interval_s
            )
            if row is None:  # another process did it within the interval
                continue
            try:
                async with asyncio.timeout(ROUND_LIMIT_S):
                    await self._continue(history, found, row["notifications_until"], row["refunds_after"])
            except (HistoryUnreadable, TimeoutError) as failure:
                found.problem = str(failure) or f"it took longer than {ROUND_LIMIT_S:.0f} s; the next round goes on"
                log.warning("reconciliation_unfinished", **found.as_row())
            else:
                log.info("reconciled", **found.as_row())

    async def by_command(self, days: int, purchases_limit: int) -> list[Findings]:
        """Read the notification history of `days`, and the refund histories of at most `purchases_limit` purchases.

        The findings contain a problem that ended it early. Raises Retryable.
        """
        await self.apply_ignored()
        findings = []
        for history in self._histories:
            found = Findings(history.environment)
            findings.append(found)
            try:
                await self._notifications(history, found, max(_now() - timedelta(days=days), _now() - HISTORY))
                after: bytes | None = b""
                while after is not None and found.purchases < purchases_limit:
                    page = min(PURCHASES_A_PAGE, purchases_limit - found.purchases)
                    after = await self._purchases(history, found, after, page)
            except HistoryUnreadable as failure:
                found.problem = str(failure)
        return findings

    async def apply_ignored(self) -> int:
        """Apply refunds that earlier versions ignored. Return how many. Raises Retryable."""
        applied = 0
        for _ in range(IGNORED_ROUNDS):
            now = await self._refunds.apply_ignored()
            applied += now
            if now < IGNORED_LIMIT:
                break
        return applied

    async def _continue(self, history: AppleHistory, found: Findings, until: datetime, after: bytes) -> None:
        await self._notifications(history, found, max(until - OVERLAP, _now() - HISTORY), notes=True)
        next_after = await self._purchases(history, found, after, PURCHASES_A_ROUND)
        await self._database.execute(QUERIES["note_refunds_read"], history.environment, next_after or b"")

    async def _notifications(
        self, history: AppleHistory, found: Findings, since: datetime, *, notes: bool = False
    ) -> None:
        """Read range by range, oldest first. `notes`: store the end of each range."""
        end = _now()
        while since < end:
            until = min(since + STRETCH, end)
            for event in get_args(Event):
                async for payload in history.notifications(event, since, until):
                    found.notifications += 1
                    await self._apply(found, payload, is_notification=True)
            if notes:
                await self._database.execute(QUERIES["note_notifications_read"], history.environment, until)
            since = until

    async def _purchases(self, history: AppleHistory, found: Findings, after: bytes, limit: int) -> bytes | None:
        """Read the refund histories of the next purchases. Return the last one's key; None if there are no more."""
        rows = await self._database.fetch(QUERIES["list_purchases"], KIND, history.environment, after, limit)
        for row in rows:
            found.purchases += 1
            async for signed in history.refunds(row["transaction_id"]):
                found.refunds += 1
                await self._apply(found, signed, is_notification=False)
        return rows[-1]["receipt_key"] if len(rows) == limit else None

    async def _apply(self, found: Findings, signed: str, *, is_notification: bool) -> None:
        try:
            notice = await self._read(signed, is_notification=is_notification)
        except (Unauthorized, NotSigned):
            found.unreadable += 1
            log.warning("history_item_unreadable", environment=found.environment)
            return
        if notice is None:
            return
        outcome = await self._refunds.apply_missed(notice)
        if outcome is not None:
            found.applied[outcome] += 1

    async def _read(self, signed: str, *, is_notification: bool) -> Notice | None:
        """Read like the endpoint, but retry if its queue is full."""
        if self._notices is None:
            raise AssertionError("there is no history without the App Store's kind of receipts")
        read = self._notices.read if is_notification else self._notices.read_refunded
        for attempt in range(READ_ATTEMPTS):
            try:
                return await read(signed)
            except Retryable:
                if attempt == READ_ATTEMPTS - 1:
                    raise
                await asyncio.sleep(READ_PAUSE_S)
        raise AssertionError("the last attempt returns or raises")


def _now() -> datetime:
    return datetime.now(UTC)
