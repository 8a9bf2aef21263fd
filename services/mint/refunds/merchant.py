"""A merchant's notifications: an order was refunded, or its refund was reversed.

header  {"alg": "ES256", "kid": …, "typ": "vyris-refund+jwt"}  by the same keys as receipts
claims  iss    the shop                      jti          the notification's own id; a retry has the same
        iat    its time (for the order)     event        REFUND, REVOKE or REFUND_REVERSED
        aud    optional, must name us        transaction  the order: the `jti` of its receipt
        sandbox  optional, as in the receipt

A shop repeats a notification until the answer is 200. So a genuine one with another event is accepted, too, and has no
effect.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from services.identity.jose import TokenRefused, numeric_date, replay_id, text_claim
from services.mint.receipts.merchant import merchant_key
from services.mint.receipts.merchant_signatures import KIND, REFUND_TYP, MerchantSignatures, sandbox_claim
from services.mint.receipts.verified import Environment
from services.mint.refunds.notice import EVENTS, Event, Notice
from vyris.errors import Unauthorized


class MerchantNotices:
    """Reads notifications of one merchant."""

    def __init__(self, signatures: MerchantSignatures) -> None:
        self._signatures = signatures

    async def read(self, signed_payload: str) -> Notice | None:
        """Read a notification. None if it has another event. Raises Unauthorized, Retryable."""
        try:
            return await self._read(signed_payload)
        except TokenRefused as refusal:
            raise Unauthorized(f"This notification is not accepted: {refusal.clause}") from None

    async def _read(self, signed_payload: str) -> Notice | None:
        claims = await self._signatures.claims(signed_payload.strip(), REFUND_TYP)
        event = text_claim(claims, "event")
        if event not in EVENTS:
            return None
        order = text_claim(claims, "transaction")
        environment: Environment = "sandbox" if sandbox_claim(claims) else "production"
        issuer = self._signatures.issuer
        return Notice(
            kind=KIND,
            # The test mode has notices of its own, because shops number those from the start, too.
            issuer=issuer if environment == "production" else f"{issuer} (sandbox)",
            notification_id=replay_id(claims),
            event=cast("Event", event),
            receipt_key=merchant_key(issuer, environment, order),
            transaction_id=order,
            signed_at=datetime.fromtimestamp(numeric_date(claims, "iat"), UTC),
        )
