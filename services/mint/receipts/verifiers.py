"""Chooses the verifier of a receipt."""

from __future__ import annotations

from collections.abc import Sequence

from services.mint import metrics
from services.mint.receipts.verified import ReceiptClaim, ReceiptVerifier, VerifiedReceipt
from vyris.errors import InvalidReceipt


class ReceiptVerifiers:
    """The verifiers that the settings name; the first that recognises a receipt's form judges it."""

    def __init__(self, verifiers: Sequence[ReceiptVerifier]) -> None:
        self._verifiers = verifiers

    async def verify(self, claim: ReceiptClaim) -> VerifiedReceipt:
        """Raises InvalidReceipt."""
        for verifier in self._verifiers:
            if verifier.recognises(claim.receipt_data):
                break
        else:
            metrics.RECEIPTS_VERIFIED("unknown", "REFUSED").inc()
            raise InvalidReceipt("Receipts of this form are not accepted here")
        try:
            receipt = await verifier.verify(claim)
        except InvalidReceipt:
            metrics.RECEIPTS_VERIFIED(verifier.kind, "REFUSED").inc()
            raise
        metrics.RECEIPTS_VERIFIED(verifier.kind, "GENUINE").inc()
        return receipt
