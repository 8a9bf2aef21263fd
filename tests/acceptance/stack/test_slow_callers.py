"""A few seconds of `python -m tests.chaos slow-callers`: strangers of one address, callers of others."""

from __future__ import annotations

from stack.local import Stack
from tests.bench.drops import BenchDrop, create_for_suite
from tests.chaos.slow_callers import (
    HALF_OPEN,
    LIMITS,
    Callers,
    Strangers,
    call_beside,
    connections_of_one_address,
    watch_drop,
    watch_health,
)

SECONDS = 3.0
TIER = "slow-slice"


async def test_half_open_calls_of_one_address_stop_no_method_of_any_service(stack: Stack) -> None:
    await create_for_suite(stack.database_url, stack.redis_url, BenchDrop(TIER, 2_000))
    others, strangers = await call_beside(Callers(stack, "half-open", TIER), stack, HALF_OPEN.values(), SECONDS)
    assert others.failures == []
    assert others.mints_ms
    # Nearly all places, as many as a slow machine can fill in time.
    assert min(one["most_held"] for one in strangers) > 1_000


async def test_one_address_holds_a_small_share_of_connections_and_streams(stack: Stack) -> None:
    await create_for_suite(stack.database_url, stack.redis_url, BenchDrop(f"{TIER}-2", 2_000))
    all_of_them = (Strangers("idle", 2_000), watch_drop(f"{TIER}-2"), watch_health())
    others, (idle, drops, health) = await call_beside(Callers(stack, "held", f"{TIER}-2"), stack, all_of_them, SECONDS)
    assert others.failures == []
    assert others.mints_ms
    assert idle["held_at_end"] <= connections_of_one_address()
    assert drops["held_at_end"] <= LIMITS.gateway_address_max_streams
    assert health["held_at_end"] <= LIMITS.gateway_address_max_streams
