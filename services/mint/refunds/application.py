"""Apply a notice, in one transaction. Each is applied once; the newest decides, in any order of arrival.

    REFUND, REVOKE    ledger → REFUNDED; the membership, if there is one, is revoked
    REFUND_REVERSED   ledger → the state before; the membership that the refund revoked is restored,
                      unless its number has a new owner or left the drop, or its person has another
                      hold or membership by now: then nothing changes, and the operator decides

A late receipt that a number is held for loses that hold: no other receipt could use it. If the refund is reversed, the
receipt is one whose offer has ended, so it mints if a number is free, joins the line again, or is refundable.

The ledger row is locked (or inserted) first, as in the mint cycle. A mint in flight either commits before, and its
membership is revoked, or it finds the receipt REFUNDED.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

import structlog

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.data.storage.locks import MINT_PURCHASE, wait_for_key
from services.limits import release_keys
from services.mint import metrics
from services.mint.refunds.notice import Notice
from services.mint.refunds.statements import QUERIES
from services.mint.revocation import restore, revoke
from services.supply import put_back

REVERSED: Final = "REFUND_REVERSED"
# Reasons of late receipts (services/supply, services/holds): a number is held for it; that hold has ended.
OFFERED: Final = "HOLD_OFFERED"
OFFER_ENDED: Final = "OFFER_LAPSED"

Outcome = Literal["REVOKED", "REMEMBERED", "RESTORED", "NOT_RESTORED", "UNCHANGED", "SUPERSEDED"]
# Earlier versions recorded refunds of products that no drop sold as IGNORED, without effect. How many to apply a round.
IGNORED_LIMIT: Final = 1_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Before:
    """The state that a refund replaced, which its reversal restores."""

    state: str | None  # None: the receipt was not entered
    reason: str | None
    membership_id: UUID | None


class Refunds:
    """Applies notices."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def apply(self, notice: Notice) -> Outcome:
        """Apply a notice and return its outcome. A repeated one keeps its first outcome. Raises Retryable."""
        outcome, _ = await self._apply(notice)
        return outcome

    async def apply_missed(self, notice: Notice) -> Outcome | None:
        """Apply a notice and return its outcome; None if it was applied before. Raises Retryable."""
        outcome, is_repeated = await self._apply(notice)
        return None if is_repeated else outcome

    async def _apply(self, notice: Notice) -> tuple[Outcome, bool]:
        async def work(connection: Connection) -> tuple[Outcome, bool]:
            return await apply_notice(connection, notice)

        outcome, is_repeated = await self._database.in_transaction(work)
        if not is_repeated:
            self._count(notice, outcome)
        return outcome, is_repeated

    async def apply_ignored(self) -> int:
        """Apply refunds that earlier versions ignored. Return how many. Raises Retryable."""
        rows = await self._database.fetch(QUERIES["list_ignored"], IGNORED_LIMIT)
        for row in rows:
            await self.apply(Notice(**row))
        return len(rows)

    def _count(self, notice: Notice, outcome: Outcome) -> None:
        metrics.NOTICES.labels(notice.kind, outcome).inc()
        log.info(
            "notice", kind=notice.kind, reported=notice.event, outcome=outcome, receipt_key=notice.receipt_key.hex()
        )


async def apply_notice(connection: Connection, notice: Notice) -> tuple[Outcome, bool]:
    """Apply a notice in the caller's transaction. Return its outcome, and whether it was applied before."""
    await wait_for_key(connection, MINT_PURCHASE, notice.receipt_key.hex())
    name = (notice.kind, notice.issuer, notice.notification_id)
    applied: Outcome | None = await connection.fetchval(QUERIES["find_notification"], *name)
    if applied is not None:
        return applied, True
    outcome = await _change_receipt(connection, notice)
    await connection.execute(
        QUERIES["record_notification"],
        *name,
        notice.event,
        notice.receipt_key,
        notice.transaction_id,
        notice.signed_at,
        outcome,
    )
    return outcome, False


async def _change_receipt(connection: Connection, notice: Notice) -> Outcome:
    known = await connection.fetchrow(QUERIES["find_refund"], notice.receipt_key)
    before = _Before(None, None, None)
    refunded = False
    if known is not None:
        if notice.order <= (known["signed_at"], known["notification_id"]):
            return "SUPERSEDED"
        refunded = known["refunded"]
        before = _Before(known["state_before"], known["reason_before"], known["revoked_membership_id"])
    outcome: Outcome = "UNCHANGED"
    if notice.refunded and not refunded:
        outcome, before = await _refund(connection, notice, before)
    elif refunded and not notice.refunded:
        outcome = await _reverse(connection, notice, before)
    await connection.execute(
        QUERIES["record_refund"],
        notice.receipt_key,
        notice.refunded,
        *notice.order,
        before.state,
        before.reason,
        before.membership_id,
    )
    return outcome


async def _refund(connection: Connection, notice: Notice, before: _Before) -> tuple[Outcome, _Before]:
    """Refund a purchase. Also one that is unknown yet: its product may be listed, and its drop created, later."""
    key = notice.receipt_key
    if await connection.fetchval(QUERIES["enter_refunded"], key, notice.kind, notice.transaction_id, notice.event):
        return "REMEMBERED", _Before(None, None, None)
    receipt = await connection.fetchrow(QUERIES["lock_receipt"], key)
    if receipt is None:
        raise AssertionError(
            "the receipt could not be entered, so it exists; only a reversal under this lock deletes it"
        )
    if receipt["state"] == "REFUNDED":
        # A reversal could not restore it (its earlier state is kept), or the operator has refunded it.
        return "UNCHANGED", before if before.membership_id else _Before("REFUNDED", receipt["reason"], None)
    reason = receipt["reason"]
    if reason == OFFERED:
        await _end_offer(connection, key)
        reason = OFFER_ENDED
    await connection.execute(QUERIES["set_receipt_state"], key, "REFUNDED", notice.event)
    membership = await connection.fetchrow(QUERIES["find_receipt_membership"], key)
    replaced = _Before(receipt["state"], reason, None)
    if membership is None or not await revoke(
        connection,
        membership["id"],
        reason=notice.event,
        actor=notice.kind,
        frees_number=membership["refund_frees_number"],
    ):
        return "REMEMBERED", replaced
    return "REVOKED", _Before(replaced.state, replaced.reason, membership["id"])


async def _end_offer(connection: Connection, key: bytes) -> None:
    """Give the number that is held for a late receipt to the next in line, or to the sale."""
    hold = await connection.fetchrow(QUERIES["end_offer"], key)
    if hold is not None:
        await release_keys(connection, [hold["id"]])
        await put_back(connection, hold["drop_id"], [hold["sequence_num"]], were_held=True)


async def _reverse(connection: Connection, notice: Notice, before: _Before) -> Outcome:
    """Reverse a refund: restore the state before it."""
    key = notice.receipt_key
    if before.state is None:
        await connection.execute(QUERIES["forget_refunded"], key)
        return "RESTORED"
    await connection.fetchrow(QUERIES["lock_receipt"], key)
    if before.membership_id is not None and not await restore(
        connection, before.membership_id, reason=notice.event, actor=notice.kind
    ):
        membership = await connection.fetchrow(QUERIES["find_receipt_membership"], key)
        if membership is None or membership["revoked"]:
            return "NOT_RESTORED"
    # A receipt that was PENDING then was refused meanwhile; it may be sent again.
    abandoned = before.state == "PENDING"
    await connection.execute(
        QUERIES["set_receipt_state"],
        key,
        "FAILED" if abandoned else before.state,
        REVERSED if abandoned else before.reason,
    )
    return "UNCHANGED" if before.state == "REFUNDED" else "RESTORED"
