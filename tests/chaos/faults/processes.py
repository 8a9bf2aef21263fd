"""Processes that are killed, frozen or restarted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import psutil

from tests.chaos.cluster import MINTS
from tests.chaos.faults.scene import Scene, fault


async def _kill(scene: Scene, process: str) -> None:
    async with scene.cluster.supervising:
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if await asyncio.to_thread(scene.stack.pid, process):
                await asyncio.to_thread(scene.stack.kill, process)
        # The supervisor gives up on a process that dies again within a second of its start.
        await asyncio.sleep(1.2)


async def _pause(scene: Scene, process: str) -> None:
    async with scene.cluster.supervising:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            await asyncio.to_thread(scene.stack.pause, process)
            try:
                await scene.hold()
            finally:
                await asyncio.to_thread(scene.stack.resume, process)


@fault
async def kill_mint(scene: Scene) -> None:
    await _kill(scene, scene.mint())


@fault
async def kill_both_mints(scene: Scene) -> None:
    for mint in MINTS:
        await _kill(scene, mint)


@fault
async def kill_encounter(scene: Scene) -> None:
    await _kill(scene, "encounter")


@fault
async def kill_reforge(scene: Scene) -> None:
    await _kill(scene, "reforge")


@fault
async def kill_mail_server(scene: Scene) -> None:
    """Mail that is due waits in the outbox."""
    await _kill(scene, "mail")


@fault
async def pause_other_services(scene: Scene) -> None:
    await _pause(scene, scene.rng.choice(("encounter", "reforge", "wallet", "mail")))


@fault
async def kill_gateway(scene: Scene) -> None:
    await _kill(scene, "gateway")


@fault
async def kill_valkey(scene: Scene) -> None:
    """Kill Valkey, which restarts empty."""
    await _kill(scene, "valkey")


@fault
async def kill_postgres(scene: Scene) -> None:
    """Kill the postmaster; its children notice it and end."""
    await _kill(scene, "postgres")


@fault
async def kill_postgres_backend(scene: Scene) -> None:
    """Kill one backend: the postmaster ends all sessions and recovers from the log."""
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        postmaster = psutil.Process(await asyncio.to_thread(scene.stack.pid, "postgres"))
        backends = [child for child in postmaster.children() if "vyris" in " ".join(child.cmdline())]
        if backends:
            os.kill(scene.rng.choice(backends).pid, signal.SIGKILL)
    await asyncio.sleep(1.0)


@fault
async def restart_postgres(scene: Scene) -> None:
    async with scene.cluster.supervising:
        await asyncio.to_thread(scene.stack.restart, "postgres")
        await asyncio.sleep(1.0)


@fault
async def pause_mint(scene: Scene) -> None:
    """Pause it for longer than every time limit of the others, then let it continue."""
    await _pause(scene, scene.mint())


@fault
async def pause_gateway(scene: Scene) -> None:
    await _pause(scene, "gateway")


@fault
async def pause_valkey(scene: Scene) -> None:
    await _pause(scene, "valkey")


@fault
async def pause_postgres(scene: Scene) -> None:
    await _pause(scene, "postgres")
