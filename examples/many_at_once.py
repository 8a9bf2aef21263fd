"""A hundred buyers at once, and the drop as they see it."""

import asyncio
import os
import sys
import uuid
from contextlib import aclosing

from vyris.client import AsyncClient
from vyris.errors import Retryable, SoldOut, VyrisError

TARGET = os.environ.get("VYRIS_TARGET", "localhost:3001")
BUYERS = 100


async def buy(vyris: AsyncClient, number: int) -> str:
    """One buyer's outcome in a word."""
    receipt = f"receipt-{uuid.uuid4()}"
    for _ in range(5):
        try:
            minted = await vyris.mint(receipt, f"buyer-{number}")
        except SoldOut:
            return "sold out"
        except VyrisError as error:
            if not error.retryable:
                raise
            await asyncio.sleep(error.retry_after_s or 0.2)
        else:
            return f"number {minted.membership.sequence_num}"
    return "gave up"


async def main() -> None:
    """Buy, then look."""
    async with AsyncClient(TARGET) as vyris:
        outcomes = await asyncio.gather(*(buy(vyris, number) for number in range(BUYERS)))
        numbers = [outcome for outcome in outcomes if outcome.startswith("number")]
        print(f"{len(numbers)} of {BUYERS} bought, {len(set(numbers))} different numbers")
        async with aclosing(vyris.watch_drop("genesis", "2025")) as changes:
            async for drop in changes:
                print(f"{drop.remaining} of {drop.capacity} remain, {drop.state}")
                break


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except Retryable as problem:
        sys.exit(f"{TARGET}: {problem.message} (`make up` starts the local stack)")
