"""A draw, from the entry to the result, which the entrant computes.

The drop must sell by a draw that takes entries. The README's first ten minutes create one (the part on draws).
"""

import os
import sys
import uuid

from vyris.client import Client
from vyris.errors import DropNotOpen, NotFound, Retryable

TARGET = os.environ.get("VYRIS_TARGET", "localhost:3001")
DROP = ("lot", "2027")


def main() -> None:
    """Enter, look, and compute the result."""
    entrant = f"entrant-{uuid.uuid4()}"
    with Client(TARGET) as vyris:
        try:
            entered = vyris.enter(*DROP, entrant)
        except (DropNotOpen, NotFound) as refusal:
            sys.exit(f"{' '.join(DROP)}: {refusal.message}; the README's part on draws creates one that takes entries")
        print(f"entered: leaf {entered.entry.leaf_hash[:16]}…; the promise has {len(entered.promise)} characters")
        draw = vyris.get_draw(*DROP)
        beacon = draw.document.beacon
        print(f"the draw is {draw.state}; round {beacon.round} decides at {beacon.round_at}")
        print(f"my result: {draw.result(entered.entry)}")
        vyris.withdraw(entered.entry.id, entrant)
        print(f"and I am {vyris.get_entry(entered.entry.id).state}")


if __name__ == "__main__":
    try:
        main()
    except Retryable as problem:
        sys.exit(f"{TARGET}: {problem.message} (`make up` starts the local stack)")
