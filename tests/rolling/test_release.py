"""A short release under load; `make rolling` replaces one process after the other at 500 mints a second."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.rolling.release import one_of_each, release_under_load
from tests.rolling.suite import Suite, production_suite

RATE_PER_S = 60
CAPACITY = 20_000
pytestmark = [pytest.mark.timeout(240)]


@pytest.fixture
async def suite(tmp_path: Path) -> AsyncIterator[Suite]:
    """Two of each service and of the gateway, one Postgres, a Valkey cluster."""
    async with production_suite(tmp_path, CAPACITY) as running:
        yield running


async def test_a_release_fails_no_request_and_breaks_no_rule(suite: Suite) -> None:
    """One of each is replaced under load."""
    outcome = await release_under_load(suite, RATE_PER_S, one_of_each)
    assert not outcome.failures
    assert not outcome.violations
    assert set(outcome.replaced) == {"mint", "encounter", "wallet", "reforge", "gateway 1"}
    assert {"mint", "encounter", "pass", "drop", "reforge", "confirm"} <= outcome.answered.keys()
    assert outcome.answered["mint"] > 200
