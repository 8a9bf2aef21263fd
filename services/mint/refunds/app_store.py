"""App Store Server Notifications V2: which of them tell about the money of a purchase.

Apple sends `{"signedPayload": "<JWS>"}`, and a signed transaction inside; both are
verified. It repeats a notification for three days until it is answered with 200, under
the same `notificationUUID`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from services.jose import NUMERIC_DATE_LIMIT
from services.mint.receipts.app_store_signatures import MILLISECONDS, AppStoreSignatures, NotSigned
from services.mint.receipts.app_store_transaction import ID_LIMIT, KIND, environment_name, transaction_of
from services.mint.refunds.notice import EVENTS, Event, Notice
from vyris.errors import Unauthorized


class AppStoreNotices:
    """Reads notifications of one app."""

    def __init__(self, signatures: AppStoreSignatures, products: frozenset[str]) -> None:
        self._signatures = signatures
        self._products = products

    async def read(self, signed_payload: str) -> Notice | None:
        """What it says about a purchase's money; None where that is not its subject. Raises Unauthorized, Retryable."""
        try:
            return await self._read(signed_payload)
        except NotSigned as refusal:
            raise Unauthorized(f"This notification is not accepted, because {refusal.reason}") from None

    async def _read(self, signed_payload: str) -> Notice | None:
        told = await self._signatures.notification(signed_payload.strip())
        event = told.rawNotificationType
        if event not in EVENTS or told.data is None or told.data.signedTransactionInfo is None:
            return None
        transaction = transaction_of(await self._signatures.transaction(told.data.signedTransactionInfo))
        if told.data.environment is None or environment_name(told.data.environment) != transaction.environment:
            raise NotSigned("its two parts name different environments of the App Store")
        # No membership can come of a purchase that the family shares: the buyer's own must not suffer when that ends.
        if transaction.family_shared:
            return None
        return Notice(
            kind=KIND,
            issuer=transaction.environment,
            notification_id=_notification_id(told.notificationUUID),
            event=cast("Event", event),
            receipt_key=transaction.key,
            transaction_id=transaction.purchase_id,
            signed_at=_moment(told.signedDate),
            sold_here=transaction.product_id in self._products and transaction.consumable is not None,
        )


def _notification_id(text: str | None) -> str:
    if text is None or not 0 < len(text) <= ID_LIMIT or not text.isprintable():
        raise NotSigned("it has no notificationUUID")
    return text.lower()


def _moment(milliseconds: int | None) -> datetime:
    if milliseconds is None or not 0 <= milliseconds <= NUMERIC_DATE_LIMIT * MILLISECONDS:
        raise NotSigned("it does not say when it was signed")
    return datetime.fromtimestamp(milliseconds / MILLISECONDS, UTC)
