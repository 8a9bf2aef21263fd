"""App Store Server Notifications V2: read those about the money of a purchase.

Apple sends `{"signedPayload": "<JWS>"}` with a signed transaction inside; both are verified. It repeats a notification
for three days, with the same `notificationUUID`, until the answer is 200. So a genuine one of another kind is
accepted, too, and has no effect.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from services.identity.jose import NUMERIC_DATE_LIMIT
from services.mint.receipts.app_store_signatures import MILLISECONDS, AppStoreSignatures, NotSigned, known_environment
from services.mint.receipts.app_store_transaction import (
    KIND,
    Transaction,
    environment_name,
    is_foreign_id,
    transaction_of,
)
from services.mint.refunds.notice import EVENTS, Event, Notice
from vyris.errors import Unauthorized


class AppStoreNotices:
    """Reads notifications of one app."""

    def __init__(self, signatures: AppStoreSignatures) -> None:
        self._signatures = signatures

    async def read(self, signed_payload: str) -> Notice | None:
        """Read a notification. None if it is not about a purchase's money. Raises Unauthorized, Retryable."""
        try:
            return await self._read(signed_payload)
        except NotSigned as refusal:
            raise Unauthorized(f"This notification is not accepted, because {refusal.reason}") from None

    async def read_refunded(self, signed_transaction: str) -> Notice | None:
        """Read a transaction of Apple's refund history, which was refunded at its `revocationDate`.

        None if it is not refunded, or shared by the buyer's family. Raises NotSigned, Retryable.
        """
        claims = await self._signatures.notified_transaction(signed_transaction.strip())
        transaction = transaction_of(claims)
        if claims.get("revocationDate") is None or transaction.family_shared:
            return None
        revoked_at = claims["revocationDate"]
        name = f"refund-history {transaction.transaction_id} {revoked_at}"
        return _make_notice(transaction, "REFUND", name, _moment(revoked_at))

    async def _read(self, signed_payload: str) -> Notice | None:
        payload = await self._signatures.notification(signed_payload.strip())
        event, data = payload.get("notificationType"), payload.get("data")
        if not isinstance(event, str) or not event:
            raise NotSigned("it is no notification")
        if event not in EVENTS:
            return None
        if not isinstance(data, dict):
            raise NotSigned("it does not say which purchase it is about")
        environment = environment_name(known_environment(data.get("environment")))
        inner = data.get("signedTransactionInfo")
        if inner is None:
            return None
        if not isinstance(inner, str):
            raise NotSigned("its transaction does not have the App Store's form")
        transaction = transaction_of(await self._signatures.notified_transaction(inner))
        if environment != transaction.environment:
            raise NotSigned("its two parts name different environments of the App Store")
        # A family's shared purchase mints no membership, and its end must not affect the buyer's own.
        if transaction.family_shared:
            return None
        name, signed_at = _notification_id(payload.get("notificationUUID")), _moment(payload.get("signedDate"))
        return _make_notice(transaction, cast("Event", event), name, signed_at)


def _make_notice(transaction: Transaction, event: Event, notification_id: str, signed_at: datetime) -> Notice:
    """Make a notice. Also for products that no drop sells: they may be sold later."""
    return Notice(
        kind=KIND,
        issuer=transaction.environment,
        notification_id=notification_id,
        event=event,
        receipt_key=transaction.key,
        transaction_id=transaction.purchase_id,
        signed_at=signed_at,
    )


def _notification_id(text: object) -> str:
    if not is_foreign_id(text):
        raise NotSigned("it has no notificationUUID")
    return text.lower()


def _moment(milliseconds: object) -> datetime:
    if type(milliseconds) is not int or not 0 <= milliseconds <= NUMERIC_DATE_LIMIT * MILLISECONDS:
        raise NotSigned("it does not say when it happened")
    return datetime.fromtimestamp(milliseconds / MILLISECONDS, UTC)
