"""Select the verifier of a receipt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from services.mint import metrics
from services.mint.receipts.verified import ReceiptClaim, ReceiptVerifier, Unconfirmed, VerifiedReceipt
from vyris.errors import InvalidReceipt

# Returns the id of the drop in which a receipt has minted, by its key, or None. Raises Retryable.
MintedIn = Callable[[bytes], Awaitable[int | None]]


class ReceiptVerifiers:
    """The verifiers that the settings name. The first that recognises a receipt's form verifies it."""

    def __init__(self, verifiers: Sequence[ReceiptVerifier], minted_in: MintedIn) -> None:
        self._verifiers = verifiers
        self._minted_in = minted_in

    async def verify(self, claim: ReceiptClaim) -> VerifiedReceipt:
        """Verify a receipt. Raises InvalidReceipt, Retryable."""
        for verifier in self._verifiers:
            if verifier.recognises(claim.receipt_data):
                break
        else:
            metrics.RECEIPTS_VERIFIED("unknown", "REFUSED").inc()
            raise InvalidReceipt("Receipts of this form are not accepted here")
        try:
            receipt = await self._verify(verifier, claim)
        except InvalidReceipt:
            metrics.RECEIPTS_VERIFIED(verifier.kind, "REFUSED").inc()
            raise
        metrics.RECEIPTS_VERIFIED(verifier.kind, "GENUINE").inc()
        return receipt

    async def _verify(self, verifier: ReceiptVerifier, claim: ReceiptClaim) -> VerifiedReceipt:
        """Verify. Accept a receipt that may not mint now if it has already minted: it gets its membership again."""
        try:
            return await verifier.verify(claim)
        except Unconfirmed as unconfirmed:
            drop_id = await self._minted_in(unconfirmed.receipt.key)
            if drop_id is None:
                await unconfirmed.confirm()
            return unconfirmed.receipt._replace(minted_in=drop_id)
