"""Notifications from stores and merchants. The signature inside proves the sender."""

from __future__ import annotations

from typing import Final

from services.mint import metrics
from services.mint.receipt_kinds import ReceiptKinds
from services.mint.receipts.app_store_signatures import TEXT_LIMIT_BYTES as APP_STORE_LIMIT_BYTES
from services.mint.receipts.merchant_signatures import TEXT_LIMIT_BYTES as MERCHANT_LIMIT_BYTES
from services.mint.refunds.application import Refunds
from services.mint.refunds.notice import Notice
from services.server.runtime.fields import is_longer, refuse_nul
from vyris.errors import InvalidRequest, Unauthorized

IGNORED: Final = "IGNORED"


class Notifications:
    """Receives notifications, and returns their outcome."""

    def __init__(self, kinds: ReceiptKinds, refunds: Refunds) -> None:
        self._kinds = kinds
        self._refunds = refunds

    async def app_store(self, signed_payload: str) -> str:
        """The outcome. Raises InvalidRequest, Unauthorized (also where the kind is not accepted), Retryable."""
        _check(signed_payload, APP_STORE_LIMIT_BYTES)
        if self._kinds.app_store_notices is None:
            raise Unauthorized("App Store notifications are not accepted here")
        return await self._apply("app-store", await self._kinds.app_store_notices.read(signed_payload))

    async def merchant(self, signed_payload: str) -> str:
        """The outcome. Raises InvalidRequest, Unauthorized (also where the kind is not accepted), Retryable."""
        _check(signed_payload, MERCHANT_LIMIT_BYTES)
        if self._kinds.merchant_notices is None:
            raise Unauthorized("Merchant notifications are not accepted here")
        return await self._apply("merchant", await self._kinds.merchant_notices.read(signed_payload))

    async def _apply(self, kind: str, notice: Notice | None) -> str:
        if notice is not None:
            return await self._refunds.apply(notice)
        metrics.NOTICES.labels(kind, IGNORED).inc()
        return IGNORED


def _check(signed_payload: str, limit_bytes: int) -> None:
    if not signed_payload or signed_payload.isspace():
        raise InvalidRequest("signedPayload is missing")
    if is_longer(signed_payload, limit_bytes):
        raise InvalidRequest(f"signedPayload must be at most {limit_bytes} bytes")
    refuse_nul(signed_payload)
