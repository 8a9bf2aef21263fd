"""The scene of a fault, and the list of all faults by name."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from services.mint.bouncer import count_key
from services.mint.drops import Drop
from tests.chaos.cluster import MINTS, Cluster

Inflict = Callable[["Scene"], Awaitable[None]]
FAULTS: Final[dict[str, Inflict]] = {}


class Scene:
    """The scene of a fault: the cluster, the drop, the run's randomness and the fault's duration."""

    def __init__(self, cluster: Cluster, drop: Drop, rng: random.Random, hold_s: float) -> None:
        self.cluster = cluster
        self.stack = cluster.stack
        self.rng = rng
        self.hold_s = hold_s
        self.count_key = count_key(drop.tier, drop.year, drop.environment)

    async def hold(self) -> None:
        """Wait for the fault's duration."""
        await asyncio.sleep(self.hold_s)

    def mint(self) -> str:
        """One of the mint processes."""
        return self.rng.choice(MINTS)


def fault(kind: Inflict) -> Inflict:
    """Register a fault by its function's name."""
    FAULTS[kind.__name__] = kind
    return kind
