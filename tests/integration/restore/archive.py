"""A WAL archive beside the stack's Postgres, with a base backup, and the restore to a moment."""

from __future__ import annotations

import asyncio
import shutil
from datetime import datetime
from typing import Final

import asyncpg

from stack.local import Stack
from stack.postgres import OWNER, binaries

ARCHIVED_LIMIT_S: Final = 20.0
RECOVERED_LIMIT_S: Final = 30.0


class Archive:
    """The folder of the WAL and the base backup."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._base = stack.state.root / "base-backup"
        self._wal = stack.state.root / "wal-archive"

    async def begin(self) -> None:
        """Begin to archive."""
        self._wal.mkdir(mode=0o700)
        connection = await asyncpg.connect(self._stack.database_url)
        await connection.execute("ALTER SYSTEM SET archive_mode = 'on'")
        await connection.execute(
            f"ALTER SYSTEM SET archive_command = 'test ! -f {self._wal}/%f && cp %p {self._wal}/%f'"
        )
        await connection.close()
        await asyncio.to_thread(self._stack.restart, "postgres")

    async def back_up(self) -> None:
        """Make a base backup, as a nightly job does."""
        copying = await asyncio.create_subprocess_exec(
            str(binaries() / "pg_basebackup"),
            *("-D", str(self._base), "-X", "none", "-c", "fast", "--no-manifest"),
            *("-d", f"host={self._stack.state.sockets} user={OWNER} dbname=postgres"),
        )
        assert await copying.wait() == 0

    async def now(self) -> datetime:
        """The time by Postgres' clock; later commits are after it."""
        connection = await asyncpg.connect(self._stack.database_url)
        moment: datetime = await connection.fetchval("SELECT clock_timestamp()")
        await connection.close()
        return moment

    async def keep_up(self) -> None:
        """Wait until everything so far is in the archive."""
        connection = await asyncpg.connect(self._stack.database_url)
        try:
            name = await connection.fetchval("SELECT pg_walfile_name(pg_switch_wal())")
            async with asyncio.timeout(ARCHIVED_LIMIT_S):
                while not (self._wal / name).exists():
                    await asyncio.sleep(0.05)
        finally:
            await connection.close()

    async def restore(self, moment: datetime) -> None:
        """Restore the base backup to `moment`, as after the loss of the disk."""
        data = self._stack.state.postgres_data
        await asyncio.to_thread(self._stack.stop_process, "postgres")
        await asyncio.to_thread(shutil.rmtree, data)
        await asyncio.to_thread(shutil.copytree, self._base, data)
        data.chmod(0o700)
        with (data / "postgresql.auto.conf").open("a", encoding="utf-8") as settings:
            settings.write(
                f"restore_command = 'cp {self._wal}/%f %p'\n"
                f"recovery_target_time = '{moment.isoformat()}'\n"
                "recovery_target_action = 'promote'\n"
            )
        (data / "recovery.signal").touch(mode=0o600)
        await asyncio.to_thread(self._stack.start_process, "postgres")
        async with asyncio.timeout(RECOVERED_LIMIT_S):
            while await self._recovers():
                await asyncio.sleep(0.1)

    async def _recovers(self) -> bool:
        try:
            connection = await asyncpg.connect(self._stack.database_url, timeout=2)
        except (asyncpg.PostgresError, OSError, TimeoutError):
            return True
        try:
            return bool(await connection.fetchval("SELECT pg_is_in_recovery()"))
        finally:
            await connection.close()
