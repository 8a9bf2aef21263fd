"""A verified receipt, and the interface of its verifiers."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Final, Literal, NamedTuple, Protocol

from vyris.bounds import limit_of
from vyris.errors import InvalidReceipt, VyrisError
from vyris.mint.v1 import mint_pb2

Environment = Literal["production", "sandbox"]
TRANSACTION_ID_LIMIT_BYTES: Final = limit_of(mint_pb2.MintRequest, "original_transaction_id")
"""Bytes of a store's own id at most. Stores call their ids opaque, so this is far above what they send today."""
# A drop's tier and year.
DropName = tuple[str, str]


class ReceiptClaim(NamedTuple):
    """What the caller sent about a purchase, within bounds."""

    receipt_data: str
    user_id: str
    original_transaction_id: str | None


class VerifiedReceipt(NamedTuple):
    """A genuine purchase."""

    key: bytes  # 32 bytes that identify the purchase, not the receipt's text
    kind: str
    transaction_id: str | None
    environment: Environment = "production"
    # The drop that was bought; None if the receipt does not name it.
    drop: DropName | None = None
    # Id of the drop in which it has minted, if the ledger was asked.
    minted_in: int | None = None
    # The hold that was paid for, and the payer, if the receipt names them.
    hold: str | None = None
    payer: str | None = None
    # The store account that made the purchase, as an AppTransaction names it.
    store_account: str | None = None


class AnothersPurchase(InvalidReceipt):
    """A genuine purchase that was made for another account than the caller's."""

    def __init__(self, key: bytes) -> None:
        """`key` is the ledger's."""
        super().__init__("This purchase was made for another account")
        self.key = key


class Unconfirmed(Exception):
    """A genuine purchase by the caller that the current keys, settings or certificates may refuse.

    If it has minted, the ledger answers. Otherwise `confirm` decides.
    """

    def __init__(self, receipt: VerifiedReceipt, confirm: Callable[[], Awaitable[None]]) -> None:
        """`confirm` raises InvalidReceipt or Retryable if the receipt may not mint now."""
        super().__init__()
        self.receipt = receipt
        self.confirm = confirm


def refused(receipt: VerifiedReceipt, refusal: VyrisError) -> Unconfirmed:
    """A purchase that may not mint now, but is answered if it has minted."""

    async def confirm() -> None:
        raise refusal

    return Unconfirmed(receipt, confirm)


class ReceiptVerifier(Protocol):
    """Verifies receipts of one kind."""

    @property
    def kind(self) -> str:
        """The kind's name, as in RECEIPT_KINDS and in the ledger."""

    def recognises(self, receipt_data: str) -> bool:
        """Whether the receipt has this kind's form. It may still be forged."""

    async def verify(self, claim: ReceiptClaim) -> VerifiedReceipt:
        """Verify a receipt. Raises InvalidReceipt (or AnothersPurchase) with a reason, Unconfirmed, Retryable."""


def receipt_key(kind: str, issuer: str, transaction: str) -> bytes:
    """The ledger's key of a purchase. Each part has its length before it, so that two purchases never share one."""
    parts = [part.encode() for part in (kind, issuer, transaction)]
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()
