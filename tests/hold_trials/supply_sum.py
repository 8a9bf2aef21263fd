"""The sum of a drop, at every sample: slots + held + live + revoked ones that keep their number = capacity."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

# One statement, and so one snapshot. $1 drop
SUM: Final = """
SELECT capacity, (SELECT count(*) FROM slots WHERE drop_id = d.id) AS slots,
       (SELECT count(*) FROM holds WHERE drop_id = d.id AND state = 'HELD') AS held,
       (SELECT count(*) FROM memberships WHERE drop_id = d.id AND revoked_at IS NULL) AS live,
       (SELECT count(*) FROM memberships WHERE drop_id = d.id AND revoked_at IS NOT NULL AND NOT number_freed) AS kept,
       (SELECT sum(taken) FROM drop_tallies WHERE drop_id = d.id) AS tallied,
       (SELECT sum(held) FROM drop_tallies WHERE drop_id = d.id) AS tallied_held
FROM drops d WHERE id = $1
"""
SAMPLE_INTERVAL_S: Final = 0.01


def check_sum(row: Mapping[str, Any]) -> None:
    """Raise AssertionError unless a row of `SUM` adds up, and the tallies say the same."""
    assert row["slots"] + row["held"] + row["live"] + row["kept"] == row["capacity"], dict(row)
    assert (row["tallied_held"], row["tallied"]) == (row["held"], row["capacity"] - row["slots"]), dict(row)


@asynccontextmanager
async def sum_watched(database_url: str, drop_id: int) -> AsyncIterator[list[Mapping[str, Any]]]:
    """Sample the sum all the time; yield the samples so far. Raises AssertionError at the end if one is wrong."""
    connection = await asyncpg.connect(database_url)
    samples: list[Mapping[str, Any]] = []

    is_over = asyncio.Event()

    async def watch() -> None:
        while not is_over.is_set():
            samples.append(await connection.fetchrow(SUM, drop_id))
            await asyncio.sleep(SAMPLE_INTERVAL_S)

    watching = asyncio.create_task(watch())
    try:
        yield samples
    finally:
        is_over.set()
        await asyncio.wait([watching])
        await connection.close()
    watching.result()
    assert samples
    for row in samples:
        check_sum(row)
