"""A receipt becomes a membership, once."""

import os
import sys
import uuid

from vyris.client import Client
from vyris.errors import ReceiptUsed, Retryable

TARGET = os.environ.get("VYRIS_TARGET", "localhost:3001")


def main() -> None:
    """Mint, mint again, and try with another user."""
    receipt = f"receipt-{uuid.uuid4()}"
    with Client(TARGET) as vyris:
        minted = vyris.mint(receipt, "ada", email="ada@example.org")
        number, drop = minted.membership.sequence_num, minted.membership
        print(f"ada holds number {number} of {drop.tier} {drop.year}")

        again = vyris.mint(receipt, "ada")
        print(f"the same receipt again: number {again.membership.sequence_num}, replayed: {again.replayed}")

        try:
            vyris.mint(receipt, "eve")
        except ReceiptUsed as refusal:
            print(f"eve gets {refusal.reason}: {refusal.message} (request {refusal.request_id})")

        left = vyris.get_drop(drop.tier, drop.year)
        print(f"{left.remaining} of {left.capacity} remain")


if __name__ == "__main__":
    try:
        main()
    except Retryable as problem:
        sys.exit(f"{TARGET}: {problem.message} (`make up` starts the local stack)")
