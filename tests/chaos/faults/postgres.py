"""Postgres from within: sessions that end, locks that stay, transactions that fail when they commit."""

from __future__ import annotations

import asyncio
import contextlib

from tests.chaos.cluster import MINTS
from tests.chaos.faults.scene import Scene, fault


@fault
async def end_postgres_sessions(scene: Scene) -> None:
    async with scene.cluster.direct() as connection:
        for _ in range(5):
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vyris-mint'"
            )
            await asyncio.sleep(scene.hold_s / 5)


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
    """An old snapshot: vacuum cannot remove deleted rows."""
    async with scene.cluster.direct() as connection, connection.transaction(isolation="repeatable_read"):
        await connection.fetchval("SELECT count(*) FROM drops")
        await asyncio.sleep(scene.hold_s * 2)


@fault
async def connections_exhausted(scene: Scene) -> None:
    async with contextlib.AsyncExitStack() as exits:
        # The services keep the connections that they have; a service that loses one gets no other.
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
    """Do `action` in Postgres just before a batch's transaction commits, after it has claimed slots."""
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
    """The commit happens after the caller's time limit, so the batch must not be reported as failed."""
    await _before_commit(scene, "PERFORM pg_sleep(1.2)")


@fault
async def backend_ends_at_commit(scene: Scene) -> None:
    await _before_commit(scene, "PERFORM pg_terminate_backend(pg_backend_pid())")


REAP = """
UPDATE receipt_ledger SET state = 'FAILED', reason = 'ABANDONED', updated_at = now()
WHERE state = 'PENDING' AND receipt_key IN (
  SELECT receipt_key FROM receipt_ledger WHERE state = 'PENDING' ORDER BY receipt_key LIMIT 1000 FOR UPDATE SKIP LOCKED)
"""


@fault
async def clock_jumps_for_two_reapers(scene: Scene) -> None:
    """The clock jumps ahead, so every PENDING receipt looks abandoned, and two reapers run at once."""

    async def reap() -> None:
        with contextlib.suppress(Exception):
            async with scene.cluster.direct() as connection:
                for _ in range(10):
                    await connection.execute(REAP)
                    await asyncio.sleep(scene.hold_s / 10)

    await asyncio.gather(reap(), reap())
