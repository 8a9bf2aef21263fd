"""Opaque receipts: any text is a purchase. For development; production refuses to start with them."""

from __future__ import annotations

from services.mint.receipts.form import looks_like_jws
from services.mint.receipts.verified import ReceiptClaim, VerifiedReceipt, receipt_key


class OpaqueVerifier:
    """Accepts every text that does not look like a signed receipt."""

    kind = "opaque"

    def recognises(self, receipt_data: str) -> bool:
        """Whether the text does not look like a JWS."""
        return not looks_like_jws(receipt_data)

    async def verify(self, claim: ReceiptClaim) -> VerifiedReceipt:
        """Accept the text as a purchase. Its key is a hash of the text."""
        return VerifiedReceipt(
            key=receipt_key(self.kind, "", claim.receipt_data),
            kind=self.kind,
            transaction_id=claim.original_transaction_id,
        )
