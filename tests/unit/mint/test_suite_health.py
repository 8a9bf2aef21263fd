"""`GET /health` shows the current state, also while a probe hangs."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from services.mint.suite_health import PeersProbe, SuiteHealth
from services.server.grpc_server.choice import servers
from vyris.errors import Retryable


async def yes() -> bool:
    return True


async def hangs() -> bool:
    await asyncio.sleep(30)
    return True


async def breaks() -> bool:
    raise RuntimeError("unforeseen")


@pytest.mark.parametrize("probe", [hangs, breaks])
async def test_a_probe_that_hangs_or_breaks_is_a_service_that_cannot_serve(probe: object) -> None:
    health = SuiteHealth({"mint": probe, "wallet": yes}, yes)  # type: ignore[dict-item]
    began_s = time.monotonic()
    await health.look()
    assert time.monotonic() - began_s < 2
    with pytest.raises(Retryable):
        await health.get_health(None, None)  # type: ignore[arg-type]


async def test_redis_that_hangs_is_degraded() -> None:
    health = SuiteHealth({"mint": yes}, hangs)
    await health.look()
    answer = await health.get_health(None, None)  # type: ignore[arg-type]
    assert b'"degraded"' in answer.data


async def test_a_replica_that_hangs_does_not_hide_one_that_serves() -> None:
    name = "vyris.wallet.v1.WalletService"
    servicer = HealthServicer()
    await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    with socket.create_server(("127.0.0.1", 0)) as silent, servers("core") as make_server:
        server = make_server(options=[], calls_limit=10)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        replicas = PeersProbe(f"127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{port}", name)
        health = SuiteHealth({"wallet": replicas}, yes)
        for _ in range(2):
            await health.look()
            assert (await health.get_health(None, None)).data  # type: ignore[arg-type]
        replicas.close()
        await server.stop(1)
