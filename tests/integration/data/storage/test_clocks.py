"""Each health check compares the process' clock with Postgres' clock."""

from __future__ import annotations

import time

import pytest

from services.data.storage.database import CLOCK_AHEAD, Database
from services.data.storage.settings import PostgresSettings


def seconds_ahead() -> float:
    (sample,) = next(iter(CLOCK_AHEAD.collect())).samples
    return sample.value


async def test_a_clock_that_is_wrong_is_seen(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = time.time
    async with Database.open(PostgresSettings(database_url=database_url), "clocks") as database:
        assert await database.holds("receipt_ledger")
        assert abs(seconds_ahead()) < 1
        for ahead_s in (90, -90):
            with monkeypatch.context() as wrong:
                wrong.setattr(time, "time", lambda ahead_s=ahead_s: right() + ahead_s)
                assert await database.holds("receipt_ledger")  # a wrong clock is an alarm, and no reason to stop
            assert abs(seconds_ahead() - ahead_s) < 1
