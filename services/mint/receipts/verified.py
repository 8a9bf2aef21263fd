"""A receipt that passed verification, and what verifies one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, Protocol

Environment = Literal["production", "sandbox"]
# A drop's tier and year.
DropName = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ReceiptClaim:
    """What the caller sent about a purchase; bounds are checked already."""

    receipt_data: str
    user_id: str
    original_transaction_id: str | None


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """A genuine purchase."""

    key: bytes  # 32 bytes: what the purchase is, not what its receipt looks like
    kind: str
    transaction_id: str | None
    environment: Environment = "production"
    # The drop that was bought; None where the receipt says nothing of it.
    drop: DropName | None = None


class ReceiptVerifier(Protocol):
    """Verifies receipts of one kind."""

    @property
    def kind(self) -> str:
        """The kind's name, as in RECEIPT_KINDS and in the ledger."""

    def recognises(self, receipt_data: str) -> bool:
        """Whether the receipt has this kind's form; says nothing of its being genuine."""

    async def verify(self, claim: ReceiptClaim) -> VerifiedReceipt:
        """Raises InvalidReceipt, with a reason that a support person understands, or Retryable."""


def receipt_key(kind: str, issuer: str, transaction: str) -> bytes:
    """The ledger's key of a purchase. Each part is length-prefixed: no two purchases share a text."""
    digest = hashlib.sha256()
    for part in (kind, issuer, transaction):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return digest.digest()
