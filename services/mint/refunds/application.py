"""What follows from a notice, in one transaction: each applied once; the newest wins, in any order of arrival.

    REFUND, REVOKE    ledger → REFUNDED; the membership, if there is one, is revoked
    REFUND_REVERSED   ledger → what it was before; the membership that the refund revoked is restored,
                      unless its number has a new owner or left the drop: then nothing changes, for the operator

The ledger row is locked (or inserted) first, as the mint cycle does: a mint in flight
either commits before, and its membership is revoked, or finds the receipt REFUNDED.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

import structlog

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.data.storage.locks import MINT_PURCHASE, wait_for_key
from services.mint import metrics
from services.mint.refunds.notice import Notice
from services.mint.refunds.statements import QUERIES
from services.mint.revocation import restore, revoke

REVERSED: Final = "REFUND_REVERSED"

Outcome = Literal["REVOKED", "REMEMBERED", "RESTORED", "NOT_RESTORED", "UNCHANGED", "SUPERSEDED"]
# Versions before recorded refunds of products that no drop sold as IGNORED, and forgot them. At most so many a round.
IGNORED_LIMIT: Final = 1_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Undone:
    """What a refund undid, and so what its reversal brings back."""

    state: str | None  # None: the receipt was not entered
    reason: str | None
    membership_id: UUID | None


class Refunds:
    """Applies notices."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def apply(self, notice: Notice) -> Outcome:
        """Apply a notice and return its outcome. One that came before keeps its first outcome. Raises Retryable."""
        outcome, _ = await self._apply(notice)
        return outcome

    async def apply_missed(self, notice: Notice) -> Outcome | None:
        """What became of it now; None where we had it already. Raises Retryable."""
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
        """Apply refunds that a version before forgot; how many there were. Raises Retryable."""
        rows = await self._database.fetch(QUERIES["list_ignored"], IGNORED_LIMIT)
        for row in rows:
            await self.apply(Notice(**row))
        return len(rows)

    def _count(self, notice: Notice, outcome: Outcome) -> None:
        metrics.NOTICES.labels(notice.kind, outcome).inc()
        log.info("notice", kind=notice.kind, told=notice.event, outcome=outcome, receipt_key=notice.receipt_key.hex())


async def apply_notice(connection: Connection, notice: Notice) -> tuple[Outcome, bool]:
    """Apply a notice in the caller's transaction; what became of it, and whether we had it already."""
    await wait_for_key(connection, MINT_PURCHASE, notice.receipt_key.hex())
    name = (notice.kind, notice.issuer, notice.notification_id)
    applied: Outcome | None = await connection.fetchval(QUERIES["find_notification"], *name)
    if applied is not None:
        return applied, True
    outcome = await _effect(connection, notice)
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


async def _effect(connection: Connection, notice: Notice) -> Outcome:
    known = await connection.fetchrow(QUERIES["find_refund"], notice.receipt_key)
    undone = _Undone(None, None, None)
    refunded = False
    if known is not None:
        if notice.order <= (known["signed_at"], known["notification_id"]):
            return "SUPERSEDED"
        refunded = known["refunded"]
        undone = _Undone(known["state_before"], known["reason_before"], known["revoked_membership_id"])
    outcome: Outcome = "UNCHANGED"
    if notice.refunded and not refunded:
        outcome, undone = await _refund(connection, notice, undone)
    elif refunded and not notice.refunded:
        outcome = await _reverse(connection, notice, undone)
    await connection.execute(
        QUERIES["record_refund"],
        notice.receipt_key,
        notice.refunded,
        *notice.order,
        undone.state,
        undone.reason,
        undone.membership_id,
    )
    return outcome


async def _refund(connection: Connection, notice: Notice, undone: _Undone) -> tuple[Outcome, _Undone]:
    """The money went back. Remembered for every purchase: a product may be listed, and a drop created, afterwards."""
    key = notice.receipt_key
    if await connection.fetchval(QUERIES["enter_refunded"], key, notice.kind, notice.transaction_id, notice.event):
        return "REMEMBERED", _Undone(None, None, None)
    receipt = await connection.fetchrow(QUERIES["lock_receipt"], key)
    if receipt is None:
        raise AssertionError("what could not be entered is there; a reversal deletes it only under the same lock")
    if receipt["state"] == "REFUNDED":
        # Because a reversal could not restore (what that would have brought back stays), or by the operator's hand.
        return "UNCHANGED", undone if undone.membership_id else _Undone("REFUNDED", receipt["reason"], None)
    await connection.execute(QUERIES["set_receipt_state"], key, "REFUNDED", notice.event)
    membership = await connection.fetchrow(QUERIES["find_receipt_membership"], key)
    before = _Undone(receipt["state"], receipt["reason"], None)
    if membership is None or not await revoke(
        connection,
        membership["id"],
        reason=notice.event,
        actor=notice.kind,
        frees_number=membership["refund_frees_number"],
    ):
        return "REMEMBERED", before
    return "REVOKED", _Undone(before.state, before.reason, membership["id"])


async def _reverse(connection: Connection, notice: Notice, undone: _Undone) -> Outcome:
    """The money came again: things are as they were before the refund."""
    key = notice.receipt_key
    if undone.state is None:
        await connection.execute(QUERIES["forget_refunded"], key)
        return "RESTORED"
    await connection.fetchrow(QUERIES["lock_receipt"], key)
    if undone.membership_id is not None and not await restore(
        connection, undone.membership_id, reason=notice.event, actor=notice.kind
    ):
        membership = await connection.fetchrow(QUERIES["find_receipt_membership"], key)
        if membership is None or membership["revoked"]:
            return "NOT_RESTORED"
    # Nobody is at work on it any more: what was PENDING then was refused meanwhile, and may be sent again.
    abandoned = undone.state == "PENDING"
    await connection.execute(
        QUERIES["set_receipt_state"],
        key,
        "FAILED" if abandoned else undone.state,
        REVERSED if abandoned else undone.reason,
    )
    return "UNCHANGED" if undone.state == "REFUNDED" else "RESTORED"
