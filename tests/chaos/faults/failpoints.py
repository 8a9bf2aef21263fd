"""Failpoints in the mint service: it dies, fails or pauses at a named point of the cycle."""

from __future__ import annotations

from tests.chaos.cluster import MINTS
from tests.chaos.faults.scene import Inflict, Scene, fault

POINTS = (
    "mint.granted",
    "mint.committed",
    "mint.giving_back",
    "recount.read",
    "recount.written",
    "reaper.reaped",
    "hold.committed",
    "hold.lapsing",
    "hold.lapsed",
)


# Points of draws, which other runs never reach.
DRAW_POINTS = (
    "draw.entered",
    "draw.closed",
    "draw.counting",
    "draw.counted",
    "draw.publishing",
    "draw.published",
    "draw.shown",
    "draw.ranked",
    "draw.drawing",
    "draw.drawn",
    "draw.offering",
    "draw.offered",
)
ACTIONS = ("kill", "raise", "delay")


def failpoint(point: str, action: str) -> Inflict:
    async def inflict(scene: Scene) -> None:
        share = scene.rng.choice((0.05, 0.3)) if action == "kill" else scene.rng.choice((0.2, 1.0))
        faults = {point: {"action": action, "share": share, "delay_s": scene.rng.choice((0.2, 1.5))}}
        chosen = [scene.mint()] if action == "kill" else list(MINTS)
        for mint in chosen:
            scene.cluster.set_failpoints(mint, faults)
        try:
            await scene.hold()
        finally:
            for mint in chosen:
                scene.cluster.set_failpoints(mint, {})

    inflict.__name__ = f"{action}_at_{point.replace('.', '_')}"
    return inflict


for _point in POINTS:
    for _action in ACTIONS:
        fault(failpoint(_point, _action))
