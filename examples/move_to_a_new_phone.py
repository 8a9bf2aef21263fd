"""A membership is to move to a new phone; its owner says no."""

import os
import sys
import uuid

from vyris.client import Client, Device
from vyris.errors import Retryable

TARGET = os.environ.get("VYRIS_TARGET", "localhost:3001")


def main() -> None:
    """Ask with the old phone's proof, refuse, and read the state of the request."""
    old, new = Device.generate("phone-a"), Device.generate("phone-b")
    with Client(TARGET) as vyris:
        minted = vyris.mint(f"receipt-{uuid.uuid4()}", "ada", email="ada@example.org", device=old)
        asked = vyris.init_reforge(minted.membership.id, "ada", new, old_device=old)
        print(f"{asked.status} until {asked.expires_at}; the link is in ada's mailbox")

        vyris.refuse_reforge(reforge_id=asked.reforge_id, device=old)
        print(f"now it is {vyris.get_reforge(reforge_id=asked.reforge_id).status}")


if __name__ == "__main__":
    try:
        main()
    except Retryable as problem:
        sys.exit(f"{TARGET}: {problem.message} (`make up` starts the local stack)")
