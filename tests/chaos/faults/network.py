"""The network between two processes: slow, silent, cut."""

from __future__ import annotations

import asyncio

from tests.chaos.cluster import MINTS
from tests.chaos.faults.scene import Scene, fault
from tests.chaos.proxy import Trouble


async def _trouble(scene: Scene, links: list[str], trouble: Trouble) -> None:
    for link in links:
        scene.cluster.proxies[link].suffer(trouble)
    try:
        await scene.hold()
    finally:
        for link in links:
            scene.cluster.proxies[link].heal()


def _any_link(scene: Scene) -> list[str]:
    return [scene.rng.choice(sorted(scene.cluster.proxies))]


@fault
async def network_delay(scene: Scene) -> None:
    await _trouble(scene, _any_link(scene), Trouble(delay_s=scene.rng.choice((0.05, 0.3, 1.0))))


@fault
async def network_black_hole(scene: Scene) -> None:
    await _trouble(scene, _any_link(scene), Trouble(black_hole=True))


@fault
async def network_one_way(scene: Scene) -> None:
    """Only requests, or only answers, are lost."""
    direction = frozenset({scene.rng.choice(("up", "down"))})
    await _trouble(scene, _any_link(scene), Trouble(black_hole=True, directions=direction))


@fault
async def network_reset(scene: Scene) -> None:
    (link,) = _any_link(scene)
    for _ in range(6):
        scene.cluster.proxies[link].reset()
        await asyncio.sleep(scene.hold_s / 6)


@fault
async def network_cut(scene: Scene) -> None:
    """Connections end in the middle of a message."""
    await _trouble(scene, _any_link(scene), Trouble(cut_after_bytes=scene.rng.choice((200, 3_000, 20_000))))


@fault
async def commit_answer_lost(scene: Scene) -> None:
    """Postgres receives everything and its answers are lost: every outcome is unknown."""
    trouble = Trouble(black_hole=True, directions=frozenset({"down"}))
    await _trouble(scene, [f"{m}-postgres" for m in MINTS], trouble)


@fault
async def redis_slow(scene: Scene) -> None:
    await _trouble(scene, [f"{m}-redis" for m in MINTS], Trouble(delay_s=scene.rng.choice((0.03, 0.2))))


@fault
async def redis_unreachable(scene: Scene) -> None:
    trouble = scene.rng.choice((Trouble(black_hole=True), Trouble(refuse=True)))
    links = [f"{m}-redis" for m in MINTS]
    for link in links:
        scene.cluster.proxies[link].reset()
    await _trouble(scene, links, trouble)
