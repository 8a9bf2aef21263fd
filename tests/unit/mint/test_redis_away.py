"""Without Redis, of either kind, the bouncer does not know the count, and no call fails."""

from __future__ import annotations

import pytest

from services.mint.bouncer import Bouncer, BouncerSettings, redis_client


@pytest.mark.parametrize("cluster", [False, True], ids=["server", "cluster"])
async def test_an_unreachable_redis_means_unknown_and_no_failure(cluster: bool) -> None:
    settings = BouncerSettings(redis_url="redis://127.0.0.1:1/0", redis_cluster=cluster, redis_pause_ms=10_000)
    bouncer = Bouncer(redis_client(settings), settings)
    try:
        assert await bouncer.take("{drop:genesis:2025}", 3) is None
        assert not await bouncer.reachable()
        assert await bouncer.write("{drop:genesis:2025}", 3) is None
        await bouncer.give_back("{drop:genesis:2025}", 3)
    finally:
        await bouncer.close()
