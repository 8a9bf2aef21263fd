"""Rows that Postgres refuses are found by halving the batch, and the others succeed."""

from __future__ import annotations

import pytest

from services.data.storage.bisection import around_refused
from services.data.storage.failures import DatabaseUnavailable, DataRejected


@pytest.mark.parametrize("bad", [set(), {0}, {7}, {3, 4}, set(range(8))], ids=str)
async def test_each_row_is_done_once_or_refused_alone(bad: set[int]) -> None:
    done: list[int] = []
    refused: list[int] = []

    async def work(rows: list[int]) -> int:
        if bad & set(rows):
            raise DataRejected("SQLSTATE 22001")
        done.extend(rows)
        return len(rows)

    async def note(row: int, refusal: DataRejected) -> None:
        assert refusal.cause == "SQLSTATE 22001"
        refused.append(row)

    counts = await around_refused(list(range(8)), work, note)
    assert sum(counts) == len(done)
    assert done == [row for row in range(8) if row not in bad]
    assert refused == sorted(bad)


async def test_a_database_that_is_away_is_no_fault_of_a_row() -> None:
    async def work(rows: list[int]) -> None:
        raise DatabaseUnavailable("no answer within the time limit")

    async def note(row: int, refusal: DataRejected) -> None:
        raise AssertionError(row)

    with pytest.raises(DatabaseUnavailable):
        await around_refused([1, 2], work, note)
