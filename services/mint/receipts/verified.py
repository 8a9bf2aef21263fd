"""A receipt that passed verification, and what verifies one."""

from __future__ import annotations

import hashlib
from typing import Final, Literal, NamedTuple, Protocol

from vyris.errors import InvalidReceipt

Environment = Literal["production", "sandbox"]
RECEIPT_LIMIT_BYTES: Final = 49_152
"""Bytes of `receipt_data` at most (the contract)."""
# A drop's tier and year.
DropName = tuple[str, str]


class ReceiptClaim(NamedTuple):
    """What the caller sent about a purchase; bounds are checked already."""

    receipt_data: str
    user_id: str
    original_transaction_id: str | None


class VerifiedReceipt(NamedTuple):
    """A genuine purchase."""

    key: bytes  # 32 bytes: what the purchase is, not what its receipt looks like
    kind: str
    transaction_id: str | None
    environment: Environment = "production"
    # The drop that was bought; None where the receipt says nothing of it.
    drop: DropName | None = None
    # The hold that was paid for, and who paid, where the receipt says so.
    hold: str | None = None
    payer: str | None = None


class AnothersPurchase(InvalidReceipt):
    """A genuine purchase that was made for another account than the caller's."""

    def __init__(self, key: bytes) -> None:
        """`key` is the ledger's."""
        super().__init__("This purchase was made for another account")
        self.key = key


class ReceiptVerifier(Protocol):
    """Verifies receipts of one kind."""

    @property
    def kind(self) -> str:
        """The kind's name, as in RECEIPT_KINDS and in the ledger."""

    def recognises(self, receipt_data: str) -> bool:
        """Whether the receipt has this kind's form; says nothing of its being genuine."""

    async def verify(self, claim: ReceiptClaim) -> VerifiedReceipt:
        """Raises InvalidReceipt (AnothersPurchase) with a reason that a support person understands, or Retryable."""


def receipt_key(kind: str, issuer: str, transaction: str) -> bytes:
    """The ledger's key of a purchase. Each part is length-prefixed: no two purchases share a text."""
    parts = [part.encode() for part in (kind, issuer, transaction)]
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()
