"""Notifications from stores and merchants. The signature inside proves the sender."""

from __future__ import annotations

from typing import Final

from services.mint import metrics
from services.mint.receipt_kinds import ReceiptKinds
from services.mint.refunds.application import Refunds
from services.mint.refunds.notice import Notice
from services.server.runtime.fields import refuse_nul
from services.server.runtime.request_checks import compile_check
from vyris.errors import Unauthorized
from vyris.mint.v1 import mint_pb2

IGNORED: Final = "IGNORED"
_APPLES_NAME: Final = {"signed_payload": "signedPayload"}
_check_app_store = compile_check(mint_pb2.NotifyAppStoreRequest, names=_APPLES_NAME)
_check_merchant = compile_check(mint_pb2.NotifyMerchantRequest, names=_APPLES_NAME)


class Notifications:
    """Receives notifications, and returns their outcome."""

    def __init__(self, kinds: ReceiptKinds, refunds: Refunds) -> None:
        self._kinds = kinds
        self._refunds = refunds

    async def app_store(self, request: mint_pb2.NotifyAppStoreRequest) -> str:
        """The outcome. Raises InvalidRequest, Unauthorized (also where the kind is not accepted), Retryable."""
        _check_app_store(request)
        refuse_nul(request.signed_payload)
        if self._kinds.app_store_notices is None:
            raise Unauthorized("App Store notifications are not accepted here")
        return await self._apply("app-store", await self._kinds.app_store_notices.read(request.signed_payload))

    async def merchant(self, request: mint_pb2.NotifyMerchantRequest) -> str:
        """The outcome. Raises InvalidRequest, Unauthorized (also where the kind is not accepted), Retryable."""
        _check_merchant(request)
        refuse_nul(request.signed_payload)
        if self._kinds.merchant_notices is None:
            raise Unauthorized("Merchant notifications are not accepted here")
        return await self._apply("merchant", await self._kinds.merchant_notices.read(request.signed_payload))

    async def _apply(self, kind: str, notice: Notice | None) -> str:
        if notice is not None:
            return await self._refunds.apply(notice)
        metrics.NOTICES.labels(kind, IGNORED).inc()
        return IGNORED
