"""App Store receipts: transactions that StoreKit 2 hands to the app, signed by the App Store (JWSTransaction)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from uuid import UUID, uuid5

from services.mint.receipts.app_store_signatures import AppStoreSignatures, NotSigned
from services.mint.receipts.app_store_transaction import KIND, Transaction, transaction_of
from services.mint.receipts.form import looks_like_storekit_jws
from services.mint.receipts.verified import (
    AnothersPurchase,
    DropName,
    ReceiptClaim,
    Unconfirmed,
    VerifiedReceipt,
    refused,
)
from services.server.runtime.fields import has_uuid_form
from vyris.errors import InvalidReceipt

SINGLE: Final = 1
ANOTHER_PRODUCT: Final = "This purchase is of another product, not of a membership"


class AppStoreVerifier:
    """Accepts one purchase of a membership product by the calling user, if it is neither refunded nor shared."""

    kind = KIND

    def __init__(
        self,
        signatures: AppStoreSignatures,
        products: Mapping[str, DropName],
        *,
        account_namespace: UUID | None = None,
        accepts_sandbox: bool = True,
    ) -> None:
        """`products` maps a product id to the drop that it buys.

        The app sets `appAccountToken` to the user's id if that is a UUID, otherwise to the UUID of version 5 of the
        user's id in `account_namespace`.
        """
        self._signatures = signatures
        self._products = products
        self._account_namespace = account_namespace
        self._accepts_sandbox = accepts_sandbox

    def recognises(self, receipt_data: str) -> bool:
        """Whether the text is a compact JWS with its certificates."""
        return looks_like_storekit_jws(receipt_data)

    async def verify(self, claim: ReceiptClaim) -> VerifiedReceipt:
        """Raises InvalidReceipt, Unconfirmed, Retryable."""
        text = claim.receipt_data.strip()
        try:
            transaction = transaction_of(await self._signatures.transaction(text))
        except NotSigned as refusal:
            raise _not_accepted(refusal) from None
        self._check_purchase(transaction)
        self._check_account(transaction, claim.user_id)
        if claim.original_transaction_id not in {None, transaction.original_transaction_id}:
            raise InvalidReceipt("original_transaction_id is not the one in this receipt")
        drop = self._products.get(transaction.product_id)
        receipt = VerifiedReceipt(
            transaction.key,
            KIND,
            transaction.purchase_id,
            transaction.environment,
            drop,
            store_account=transaction.store_account,
        )
        if transaction.environment == "sandbox" and not self._accepts_sandbox:
            raise refused(
                receipt,
                InvalidReceipt("This is a test purchase from the App Store's sandbox; those are not accepted here"),
            )
        if drop is None:
            raise refused(receipt, InvalidReceipt(ANOTHER_PRODUCT))
        if self._signatures.may_be_revoked(text):
            raise Unconfirmed(receipt, lambda: self._check_revocation(text))
        return receipt

    async def _check_revocation(self, text: str) -> None:
        try:
            await self._signatures.check_revocation(text)
        except NotSigned as refusal:
            raise _not_accepted(refusal) from None

    def _check_purchase(self, transaction: Transaction) -> None:
        """Raise InvalidReceipt unless this is a paid purchase of one membership."""
        if transaction.revoked:
            raise InvalidReceipt("This purchase was refunded or revoked by the App Store")
        if transaction.family_shared:
            raise InvalidReceipt("This purchase is shared by a family member; only the account that paid can mint")
        if not transaction.purchased:
            raise InvalidReceipt("The App Store does not say that this account made the purchase")
        if transaction.consumable is None:
            raise InvalidReceipt(ANOTHER_PRODUCT)
        if type(transaction.quantity) is not int or transaction.quantity != SINGLE:
            raise InvalidReceipt("This purchase is not of exactly one piece; a membership is bought singly")

    def _check_account(self, transaction: Transaction, user_id: str) -> None:
        if transaction.account is None:
            raise InvalidReceipt("This purchase names no account (appAccountToken), so it cannot be given to a user")
        if transaction.account not in self._accounts_of(user_id):
            raise AnothersPurchase(transaction.key)

    def _accounts_of(self, user_id: str) -> set[UUID]:
        """The tokens that an app may have set for this user.

        Python also reads 32 digits without hyphens, braces and `urn:uuid:` as a UUID. Swift does not, so an app takes
        the namespace for such a user id. Both readings name the same user.
        """
        accounts = set()
        with suppress(ValueError):
            accounts.add(UUID(user_id))
        if self._account_namespace is not None and not has_uuid_form(user_id):
            accounts.add(uuid5(self._account_namespace, user_id))
        return accounts


def _not_accepted(refusal: NotSigned) -> InvalidReceipt:
    return InvalidReceipt(f"This App Store receipt is not accepted, because {refusal.reason}")
