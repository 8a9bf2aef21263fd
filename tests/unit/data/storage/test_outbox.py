"""How long a failed row of an outbox waits."""

from __future__ import annotations

import pytest

from services.data.storage.database import Database
from services.data.storage.outbox import Outbox, OutboxLimits, OutboxStatements


@pytest.mark.parametrize(("attempts", "longest_s"), [(1, 2.0), (2, 4.0), (5, 32.0), (6, 60.0), (100_000, 60.0)])
def test_a_pause_doubles_up_to_its_limit(attempts: int, longest_s: float) -> None:
    statements = OutboxStatements(take="", done="", later="", give_up="", count="")
    outbox = Outbox(Database.__new__(Database), statements, OutboxLimits(1, 60.0, 2.0, 60.0))
    pauses_s = [outbox.pause_s(attempts) for _ in range(100)]
    assert 0.75 * longest_s <= min(pauses_s) < max(pauses_s) <= longest_s
