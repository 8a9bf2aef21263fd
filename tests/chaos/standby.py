"""A synchronous standby of the stack's Postgres, made from its own binaries and promoted under load."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import asyncpg

from stack import launch
from stack.postgres import DATABASE, OWNER, PORT, binaries
from tests.chaos.cluster import Cluster

NAME = "chaos_standby"
SYNCHRONOUS_LIMIT_S = 30.0
PROMOTION_LIMIT_S = 20.0


class Standby:
    """The second server."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._data = folder / "standby"
        self._sockets = folder / "s"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address, past the proxies."""
        return f"postgresql://{OWNER}@/{DATABASE}?host={quote(str(self._sockets), safe='/')}"

    async def start(self) -> None:
        """Copy the primary, follow it, and make it wait for the standby at every commit."""
        self._sockets.mkdir(mode=0o700)
        sockets = str(self._cluster.stack.state.sockets)
        async with self._cluster.direct() as primary:
            await primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{NAME}'")
        copying = await asyncio.create_subprocess_exec(
            str(binaries() / "pg_basebackup"),
            *("-D", str(self._data), "-X", "stream", "-c", "fast", "-R"),
            *("-d", f"host={sockets} user={OWNER} application_name={NAME}"),
        )
        if await copying.wait():
            raise RuntimeError("pg_basebackup failed")
        self._launch()
        async with self._cluster.direct() as primary:
            await primary.execute("SELECT pg_reload_conf()")
            async with asyncio.timeout(SYNCHRONOUS_LIMIT_S):
                while not await primary.fetchval("SELECT bool_or(sync_state = 'sync') FROM pg_stat_replication"):
                    await asyncio.sleep(0.1)

    def _launch(self) -> None:
        spec = self._cluster.stack.spec("postgres")
        file = self._cluster.stack.state.run / "standby.launch.json"
        binary = str(binaries() / "postgres")
        description = launch.description(
            [binary, "-D", str(self._data), "-c", f"unix_socket_directories={self._sockets}"],
            spec.environment,
            self._cluster.stack.state.root,
            death_signal=signal.SIGQUIT,
            sheds_root=spec.sheds_root,
        )
        self._cluster.stack.state.write_private(file, description)
        with (self._data.parent / "standby.log").open("ab") as log:
            self._process = subprocess.Popen(launch.command(file), stdout=log, stderr=log)

    async def take_over(self) -> None:
        """Kill the primary for good, promote the standby and lead every proxy to it."""
        await self.lose_primary()
        await self.promote()
        self.lead_here()

    async def lose_primary(self) -> None:
        """Kill the primary for good."""
        stack = self._cluster.stack
        os.kill(await asyncio.to_thread(stack.pid, "postgres"), signal.SIGKILL)
        await asyncio.to_thread(stack.stop_process, "postgres")

    async def promote(self) -> None:
        """Make the standby the primary."""
        promoted = await asyncpg.connect(self.url, timeout=5)
        try:
            if not await promoted.fetchval("SELECT pg_promote(true, $1)", int(PROMOTION_LIMIT_S)):
                raise RuntimeError("the standby was not promoted")
            # It would wait for a standby of its own.
            await promoted.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
            await promoted.execute("SELECT pg_reload_conf()")
        finally:
            promoted.terminate()
        self._cluster.database_url = self.url

    def lead_here(self) -> None:
        """Lead every proxy to Postgres to this server; reset connections to the other one."""
        for name, proxy in self._cluster.proxies.items():
            if name.endswith("-postgres"):
                proxy.lead_to(self._sockets / f".s.PGSQL.{PORT}")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()


@asynccontextmanager
async def standby(cluster: Cluster, folder: Path) -> AsyncIterator[Standby]:
    """Run a standby that follows the primary."""
    server = Standby(cluster, folder)
    try:
        await server.start()
        yield server
    finally:
        server.stop()
