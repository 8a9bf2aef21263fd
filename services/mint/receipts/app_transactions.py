"""AppTransactions: signed proof of the Apple account that installed the app, before any purchase.

There is one `appTransactionId` for each Apple account and app. A phone may keep a text for years, so certificates must
be valid at the text's own date. Source: Apple, StoreKit, AppTransaction.
"""

from __future__ import annotations

from services.mint.receipts.app_store_signatures import AppStoreSignatures, NotSigned
from services.mint.receipts.app_store_transaction import is_foreign_id
from vyris.errors import Unauthorized


class AppTransactions:
    """Proves store accounts for one app."""

    def __init__(self, signatures: AppStoreSignatures) -> None:
        self._signatures = signatures

    async def account(self, signed: str) -> str:
        """The `appTransactionId` of a signed AppTransaction. Raises Unauthorized, Retryable."""
        try:
            claims = await self._signatures.app_transaction(signed.strip())
        except NotSigned as refusal:
            raise Unauthorized(f"app_transaction is not accepted, because {refusal.reason}") from None
        account = claims.get("appTransactionId")
        if not is_foreign_id(account):
            raise Unauthorized("app_transaction: it names no account (appTransactionId)")
        return account
