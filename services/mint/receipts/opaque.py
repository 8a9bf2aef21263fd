"""Opaque receipts: any text is a purchase. For development; production refuses to start with them."""

from __future__ import annotations

from services.mint.receipts.form import looks_like_jws
from services.mint.receipts.verified import ReceiptClaim, VerifiedReceipt, receipt_key


class OpaqueVerifier:
    """Accepts every text that does not look like a signed receipt."""

    kind = "opaque"

    def recognises(self, receipt_data: str) -> bool:
        """Texts that look like a JWS never reach this verifier."""
        return not looks_like_jws(receipt_data)

    async def verify(self, claim: ReceiptClaim) -> VerifiedReceipt:
        """The text itself is the purchase; its key is the SHA-256 of its bytes."""
        return VerifiedReceipt(
            key=receipt_key(self.kind, "", claim.receipt_data),
            kind=self.kind,
            transaction_id=claim.original_transaction_id,
        )
