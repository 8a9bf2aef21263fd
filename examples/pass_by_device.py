"""A membership that a device holds: its pass is issued to that device alone."""

import os
import sys
import tempfile
import uuid

from vyris.client import Client, Device
from vyris.errors import Retryable, Unauthorized

TARGET = os.environ.get("VYRIS_TARGET", "localhost:3001")


def main() -> None:
    """Mint with a device, ask for the pass without it and with it."""
    phone = Device.generate("phone-a")
    with Client(TARGET) as vyris:
        minted = vyris.mint(f"receipt-{uuid.uuid4()}", "ada", email="ada@example.org", device=phone)
        membership_id = minted.membership.id

        try:
            vyris.issue_pass(membership_id, "ada")
        except Unauthorized as refusal:
            print(f"without the phone: {refusal.message}")

        issued = vyris.issue_pass(membership_id, "ada", device=phone)
        path = issued.save(tempfile.mkdtemp())
        print(f"with it: {len(issued.package)} bytes, saved as {path}")

        met = list(vyris.encounters(membership_id, phone))
        print(f"met so far: {len(met)}")


if __name__ == "__main__":
    try:
        main()
    except Retryable as problem:
        sys.exit(f"{TARGET}: {problem.message} (`make up` starts the local stack)")
