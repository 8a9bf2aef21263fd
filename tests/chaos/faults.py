"""The faults. Each is a coroutine that breaks something, holds it for a while and mends it; its name is its kind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Awaitable, Callable
from typing import Final

import psutil
from redis.exceptions import RedisError

from services.mint.bouncer import count_key
from services.mint.drops import Drop
from tests.chaos.cluster import MINTS, Cluster
from tests.chaos.proxy import Trouble

Inflict = Callable[["Scene"], Awaitable[None]]
FAULTS: Final[dict[str, Inflict]] = {}


class Scene:
    """Where a fault happens: the cluster, the drop, the run's randomness and how long it is to last."""

    def __init__(self, cluster: Cluster, drop: Drop, rng: random.Random, hold_s: float) -> None:
        self.cluster = cluster
        self.stack = cluster.stack
        self.rng = rng
        self.hold_s = hold_s
        self.count_key = count_key(drop.tier, drop.year, drop.environment)

    async def hold(self) -> None:
        """Let it last."""
        await asyncio.sleep(self.hold_s)

    def mint(self) -> str:
        """One of the mint processes."""
        return self.rng.choice(MINTS)


def fault(kind: Inflict) -> Inflict:
    """Register a fault by its function's name."""
    FAULTS[kind.__name__] = kind
    return kind


# Processes


async def _kill(scene: Scene, process: str) -> None:
    async with scene.cluster.supervising:
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if await asyncio.to_thread(scene.stack.pid, process):
                await asyncio.to_thread(scene.stack.kill, process)
        # The supervisor gives up on what dies again within a second of its start.
        await asyncio.sleep(1.2)


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
    """Whatever mail is due waits in the outbox."""
    await _kill(scene, "mail")


@fault
async def pause_other_services(scene: Scene) -> None:
    await _pause(scene, scene.rng.choice(("encounter", "reforge", "wallet", "mail")))


@fault
async def kill_gateway(scene: Scene) -> None:
    await _kill(scene, "gateway")


@fault
async def kill_valkey(scene: Scene) -> None:
    """Restarts empty."""
    await _kill(scene, "valkey")


@fault
async def kill_postgres(scene: Scene) -> None:
    """The postmaster; its children notice and end."""
    await _kill(scene, "postgres")


@fault
async def kill_postgres_backend(scene: Scene) -> None:
    """One backend by SIGKILL: the postmaster ends all sessions and recovers from the log."""
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        postmaster = psutil.Process(await asyncio.to_thread(scene.stack.pid, "postgres"))
        backends = [child for child in postmaster.children() if "vyris" in " ".join(child.cmdline())]
        if backends:
            os.kill(scene.rng.choice(backends).pid, signal.SIGKILL)
    await asyncio.sleep(1.0)


@fault
async def end_postgres_sessions(scene: Scene) -> None:
    async with scene.cluster.direct() as connection:
        for _ in range(5):
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vyris-mint'"
            )
            await asyncio.sleep(scene.hold_s / 5)


@fault
async def restart_postgres(scene: Scene) -> None:
    async with scene.cluster.supervising:
        await asyncio.to_thread(scene.stack.restart, "postgres")
        await asyncio.sleep(1.0)


async def _pause(scene: Scene, process: str) -> None:
    async with scene.cluster.supervising:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            await asyncio.to_thread(scene.stack.pause, process)
            try:
                await scene.hold()
            finally:
                await asyncio.to_thread(scene.stack.resume, process)


@fault
async def pause_mint(scene: Scene) -> None:
    """Past every time limit of the others, then on."""
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


# Redis


async def _redis(scene: Scene, *command: object) -> None:
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        async with scene.cluster.direct_redis() as client:
            await client.execute_command(*command)


async def _lie(scene: Scene, value: object) -> None:
    for _ in range(8):
        await _redis(scene, "SET", scene.count_key, value)
        await asyncio.sleep(scene.hold_s / 8)


@fault
async def redis_flushed(scene: Scene) -> None:
    for _ in range(4):
        await _redis(scene, "FLUSHALL")
        await asyncio.sleep(scene.hold_s / 4)


@fault
async def redis_read_only(scene: Scene) -> None:
    await _redis(scene, "REPLICAOF", "127.0.0.1", "1")
    try:
        await scene.hold()
    finally:
        for _ in range(20):
            await _redis(scene, "REPLICAOF", "NO", "ONE")
            await asyncio.sleep(0.05)


@fault
async def redis_says_too_many(scene: Scene) -> None:
    await _lie(scene, 1_000_000)


@fault
async def redis_says_none(scene: Scene) -> None:
    await _lie(scene, scene.rng.choice((0, -7)))


@fault
async def redis_says_garbage(scene: Scene) -> None:
    await _lie(scene, scene.rng.choice(("many", "1e400", "12.5", "", "9223372036854775807")))


@fault
async def redis_holds_another_type(scene: Scene) -> None:
    for _ in range(8):
        await _redis(scene, "DEL", scene.count_key)
        await _redis(scene, "LPUSH", scene.count_key, "1")
        await asyncio.sleep(scene.hold_s / 8)


async def _trouble(scene: Scene, links: list[str], trouble: Trouble) -> None:
    for link in links:
        scene.cluster.proxies[link].suffer(trouble)
    try:
        await scene.hold()
    finally:
        for link in links:
            scene.cluster.proxies[link].heal()


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


# The network between any two


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
    """Postgres hears everything and nobody hears Postgres: every outcome is unknown."""
    trouble = Trouble(black_hole=True, directions=frozenset({"down"}))
    await _trouble(scene, [f"{m}-postgres" for m in MINTS], trouble)


# Postgres from within


@fault
async def statements_time_out(scene: Scene) -> None:
    """A table is locked longer than statements may wait."""
    async with scene.cluster.direct() as connection:
        table = scene.rng.choice(("slots", "receipt_ledger", "memberships", "drop_tallies"))
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            await scene.hold()


@fault
async def snapshot_held(scene: Scene) -> None:
    """Nothing that is deleted meanwhile can be cleaned away."""
    async with scene.cluster.direct() as connection, connection.transaction(isolation="repeatable_read"):
        await connection.fetchval("SELECT count(*) FROM drops")
        await asyncio.sleep(scene.hold_s * 2)


@fault
async def connections_exhausted(scene: Scene) -> None:
    async with contextlib.AsyncExitStack() as exits:
        # What the services hold already stays theirs; whoever loses a connection gets no other.
        with contextlib.suppress(Exception):
            for _ in range(120):
                await exits.enter_async_context(scene.cluster.direct())
        for link in (f"{m}-postgres" for m in MINTS):
            scene.cluster.proxies[link].reset()
        await scene.hold()


BEFORE_COMMIT = """
CREATE OR REPLACE FUNCTION chaos_before_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('chaos.done', true) = '1' THEN RETURN NULL; END IF;
  PERFORM set_config('chaos.done', '1', true);
  IF random() < {share} THEN {action}; END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER chaos_before_commit AFTER INSERT ON memberships
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chaos_before_commit();
"""


async def _before_commit(scene: Scene, action: str) -> None:
    """Something happens in Postgres after a batch's slots were claimed, when its transaction is about to commit."""
    share = scene.rng.choice((0.3, 1.0))
    async with scene.cluster.direct() as connection:
        await connection.execute(BEFORE_COMMIT.format(share=share, action=action))
    try:
        await scene.hold()
    finally:
        for _ in range(50):
            with contextlib.suppress(Exception):
                async with scene.cluster.direct() as connection:
                    await connection.execute("DROP TRIGGER IF EXISTS chaos_before_commit ON memberships")
                break
            await asyncio.sleep(0.2)


@fault
async def disk_full_at_commit(scene: Scene) -> None:
    await _before_commit(scene, "RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'")


@fault
async def commit_outlasts_the_caller(scene: Scene) -> None:
    """The commit happens after the caller's time limit: it must not take the batch for failed."""
    await _before_commit(scene, "PERFORM pg_sleep(1.2)")


@fault
async def backend_ends_at_commit(scene: Scene) -> None:
    await _before_commit(scene, "PERFORM pg_terminate_backend(pg_backend_pid())")


# Failpoints in the services

POINTS = (
    "mint.entered",
    "mint.granted",
    "mint.fulfilled",
    "mint.giving_back",
    "mint.refused",
    "recount.read",
    "recount.written",
    "reaper.reaped",
)


def _failpoint(point: str, action: str) -> Inflict:
    async def inflict(scene: Scene) -> None:
        share = scene.rng.choice((0.05, 0.3)) if action == "kill" else scene.rng.choice((0.2, 1.0))
        told = {point: {"action": action, "share": share, "delay_s": scene.rng.choice((0.2, 1.5))}}
        chosen = [scene.mint()] if action == "kill" else list(MINTS)
        for mint in chosen:
            scene.cluster.set_failpoints(mint, told)
        try:
            await scene.hold()
        finally:
            for mint in chosen:
                scene.cluster.set_failpoints(mint, {})

    inflict.__name__ = f"{action}_at_{point.replace('.', '_')}"
    return inflict


for _point in POINTS:
    for _action in ("kill", "raise", "delay"):
        fault(_failpoint(_point, _action))


# Repairs

REAP = """
UPDATE receipt_ledger SET state = 'FAILED', reason = 'ABANDONED', updated_at = now()
WHERE state = 'PENDING' AND receipt_key IN (
  SELECT receipt_key FROM receipt_ledger WHERE state = 'PENDING' ORDER BY receipt_key LIMIT 1000 FOR UPDATE SKIP LOCKED)
"""


@fault
async def clock_jumps_for_two_reapers(scene: Scene) -> None:
    """To a clock that jumped ahead every PENDING receipt is abandoned; and two reapers come at once."""

    async def reap() -> None:
        with contextlib.suppress(Exception):
            async with scene.cluster.direct() as connection:
                for _ in range(10):
                    await connection.execute(REAP)
                    await asyncio.sleep(scene.hold_s / 10)

    await asyncio.gather(reap(), reap())
