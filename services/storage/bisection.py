"""A statement over many rows fails as a whole where Postgres refuses the data of one, and does not say whose."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.storage.failures import DataRejected

R = TypeVar("R")
T = TypeVar("T")


async def around_refused(
    rows: list[R], work: Callable[[list[R]], Awaitable[T]], refused: Callable[[R, DataRejected], Awaitable[None]]
) -> list[T]:
    """What `work` returned: for all rows at once, or for parts of them.

    Where `work` raises DataRejected it is given both halves, until the rows that are to blame stand alone: `refused`
    hears of each.
    """
    try:
        return [await work(rows)]
    except DataRejected as refusal:
        if len(rows) == 1:
            await refused(rows[0], refusal)
            return []
    middle = len(rows) // 2
    first = await around_refused(rows[:middle], work, refused)
    return first + await around_refused(rows[middle:], work, refused)
