"""/health tells what is so now, also while something it asks hangs."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.mint.suite_health import SuiteHealth
from vyris.errors import Retryable


async def yes() -> bool:
    return True


async def hangs() -> bool:
    await asyncio.sleep(30)
    return True


async def breaks() -> bool:
    raise RuntimeError("unforeseen")


@pytest.mark.parametrize("probe", [hangs, breaks])
async def test_a_probe_that_hangs_or_breaks_is_a_service_that_cannot_serve(probe: object) -> None:
    health = SuiteHealth({"mint": probe, "wallet": yes}, yes)  # type: ignore[dict-item]
    began_s = time.monotonic()
    await health.look()
    assert time.monotonic() - began_s < 2
    with pytest.raises(Retryable):
        await health.get_health(None, None)  # type: ignore[arg-type]


async def test_redis_that_hangs_is_degraded() -> None:
    health = SuiteHealth({"mint": yes}, hangs)
    await health.look()
    answer = await health.get_health(None, None)  # type: ignore[arg-type]
    assert b'"degraded"' in answer.data
