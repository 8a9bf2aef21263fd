"""A number is kept while its buyer pays: hold, pay, mint.

The drop must sell by hold: `vyris drop create night 2026 --capacity 10 --sale hold --if-missing`.
"""

import os
import sys
import uuid

from vyris.client import Client
from vyris.errors import HeldOut, HoldExpired, LimitReached, NotFound, Retryable, SoldOut

TARGET = os.environ.get("VYRIS_TARGET", "localhost:3001")
DROP = ("night", "2026")


def main() -> None:
    """Hold, look, pay, and hold once more."""
    buyer = f"buyer-{uuid.uuid4()}"
    with Client(TARGET) as vyris:
        try:
            hold = vyris.take_hold(*DROP, buyer).hold
        except NotFound:
            sys.exit("no such drop: `vyris drop create night 2026 --capacity 10 --sale hold --if-missing` creates it")
        except HeldOut as refusal:
            sys.exit(f"all numbers are held; some may come back in {refusal.retry_after_s} s")
        except SoldOut:
            sys.exit("sold out, and nobody has paid for nothing")
        print(f"a number is held until {hold.expires_at}; the mint shows which one")
        seen = vyris.get_drop(*DROP)
        print(f"{seen.available} of {seen.capacity} can be had, {seen.held} held, {seen.minted} minted")

        # Here the buyer pays. Only then is there a receipt.
        try:
            minted = vyris.mint(f"receipt-{uuid.uuid4()}", buyer, drop=DROP)
        except HoldExpired:
            sys.exit("paid too late, and nothing is free: send the receipt again later, or it is refunded at the close")
        print(f"number {minted.membership.sequence_num}; the hold is {vyris.get_hold(hold.id).state}")

        try:
            vyris.take_hold(*DROP, buyer)
        except LimitReached as refusal:
            print(f"once more: {refusal.reason}")


if __name__ == "__main__":
    try:
        main()
    except Retryable as problem:
        sys.exit(f"{TARGET}: {problem.message} (`make up` starts the local stack)")
