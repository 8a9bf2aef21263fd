"""Find the rows that Postgres refuses: a statement over many rows fails as a whole, and does not name the row."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.data.storage.failures import DataRejected

R = TypeVar("R")
T = TypeVar("T")


async def around_refused(
    rows: list[R], work: Callable[[list[R]], Awaitable[T]], refused: Callable[[R, DataRejected], Awaitable[None]]
) -> list[T]:
    """Call `work` with all rows, and return its results.

    If `work` raises DataRejected, call it with each half, until a refused row is alone. `refused` is called for each of
    these rows.
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
