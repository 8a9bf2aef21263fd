"""Merchant receipts, signed by the seller's own shop. So any shop or payment service can be connected.

header  {"alg": "ES256", "kid": …, "typ": "vyris-receipt+jwt"}
claims  iss   the shop                       jti      the order, unique at the shop
        sub   the buyer's user_id            drop     "<tier>:<year>"
        aud   optional, must name us         sandbox  optional, true for an order of the shop's test mode
        iat   optional, unused               hold     optional, the hold that was paid for
                                             payer    optional, the shop's id of the payer, which `limits` counts
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.identity.jose import TokenRefused, text_claim
from services.mint.receipts.form import looks_like_plain_jws
from services.mint.receipts.merchant_signatures import KIND, MerchantSignatures, sandbox_claim
from services.mint.receipts.verified import (
    AnothersPurchase,
    DropName,
    Environment,
    ReceiptClaim,
    VerifiedReceipt,
    receipt_key,
    refused,
)
from services.server.runtime.fields import drop_name
from vyris.errors import InvalidReceipt, InvalidRequest


class MerchantVerifier:
    """Accepts an order of the calling user that the shop signed."""

    kind = KIND

    def __init__(self, signatures: MerchantSignatures, *, accepts_sandbox: bool = True) -> None:
        """`accepts_sandbox` lets orders of the shop's test mode mint, from drops of the sandbox alone."""
        self._signatures = signatures
        self._accepts_sandbox = accepts_sandbox

    def recognises(self, receipt_data: str) -> bool:
        """Whether the text is a compact JWS without certificates."""
        return looks_like_plain_jws(receipt_data)

    async def verify(self, claim: ReceiptClaim) -> VerifiedReceipt:
        """Raises InvalidReceipt, Unconfirmed, Retryable."""
        try:
            claims, refusal = await self._signatures.receipt_claims(claim.receipt_data.strip())
            _refuse_expiry_and_refunds(claims)
            order, buyer = text_claim(claims, "jti"), text_claim(claims, "sub")
            drop, sandbox = _drop(claims), sandbox_claim(claims)
            hold, payer = (text_claim(claims, name) if name in claims else None for name in ("hold", "payer"))
        except TokenRefused as failure:
            raise _not_accepted(failure) from None
        environment: Environment = "sandbox" if sandbox else "production"
        key = merchant_key(self._signatures.issuer, environment, order)
        if buyer != claim.user_id:
            raise AnothersPurchase(key)
        if claim.original_transaction_id not in {None, order}:
            raise InvalidReceipt("original_transaction_id is not the one in this receipt")
        receipt = VerifiedReceipt(key, KIND, order, environment, drop, hold=hold, payer=payer)
        if refusal is not None:
            raise refused(receipt, _not_accepted(refusal) if isinstance(refusal, TokenRefused) else refusal)
        if sandbox and not self._accepts_sandbox:
            raise refused(
                receipt, InvalidReceipt("This is an order of the shop's test mode; those are not accepted here")
            )
        return receipt


def merchant_key(issuer: str, environment: Environment, order: str) -> bytes:
    """The ledger's key of an order. Test orders have separate keys, because shops number them from the start, too."""
    return receipt_key(KIND, issuer if environment == "production" else f"{issuer}\n{environment}", order)


def _refuse_expiry_and_refunds(claims: Mapping[str, Any]) -> None:
    """Refuse a receipt that expires, because receipts are answered for years, and a refund, which is no receipt."""
    if "exp" in claims or "nbf" in claims:
        raise TokenRefused("A receipt does not expire; the shop must leave exp and nbf out")
    if "event" in claims:
        raise TokenRefused("This is a notification about a purchase, not its receipt")


def _drop(claims: Mapping[str, Any]) -> DropName:
    tier, _, year = text_claim(claims, "drop").partition(":")
    try:
        return drop_name(tier, year)
    except InvalidRequest:
        raise TokenRefused("The claim drop does not have the form tier:year") from None


def _not_accepted(refusal: TokenRefused) -> InvalidReceipt:
    return InvalidReceipt(f"This merchant receipt is not accepted: {refusal.clause}")
