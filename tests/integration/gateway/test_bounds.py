"""The limits of one caller, one address and one door."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway import bounds, clusters
from tests.chaos.slow_callers import HALF_OPEN
from tests.chaos.strangers import Native, Seen
from tests.integration.gateway.peers import MINTED, Gateway, Services, make_settings, running_gateway
from vyris.encounter.v1 import encounter_pb2, encounter_pb2_grpc
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc
from vyris.reforge.v1 import reforge_pb2, reforge_pb2_grpc
from vyris.wallet.v1 import wallet_pb2, wallet_pb2_grpc

STRANGER = "127.0.0.2"
WATCHED = health_pb2.HealthCheckRequest(service="vyris.mint.v1.MintService")
MESSAGE = WATCHED.SerializeToString()
WATCH = "/grpc.health.v1.Health/Watch"


@contextlib.asynccontextmanager
async def _strangers(gateway: Gateway, path: str, count: int, message: bytes | None = None) -> AsyncIterator[Seen]:
    """Keep `count` native calls of another address open on one connection."""
    seen = Seen()
    transport, _ = await asyncio.get_running_loop().create_connection(
        lambda: Native(seen, path, count, message),
        "127.0.0.1",
        gateway.settings.gateway_grpc_port,
        local_addr=(STRANGER, 0),
    )
    try:
        yield seen
    finally:
        transport.abort()


async def _connections(port: int, count: int, kept: int) -> list[asyncio.StreamWriter]:
    """Open `count` connections; return those that stay open, which must be `kept`."""
    opened = [await asyncio.open_connection("127.0.0.1", port, local_addr=(STRANGER, 0)) for _ in range(count)]
    reads = [asyncio.ensure_future(reader.read(1)) for reader, _ in opened]
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                while sum(read.done() for read in reads) < count - kept:
                    await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        assert sum(not read.done() for read in reads) == kept
        return [writer for read, (_, writer) in zip(reads, opened, strict=True) if not read.done()]
    finally:
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)


async def _wait_until(seen: Seen, ended: int, limit_s: float = 5) -> None:
    async with asyncio.timeout(limit_s):
        while seen.ended < ended:
            await asyncio.sleep(0.02)


async def test_a_call_takes_a_place_only_once_it_is_whole(services: Services, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, services, gateway_max_requests=3)
    async with (
        running_gateway(tmp_path, settings) as gateway,
        grpc.aio.insecure_channel(gateway.grpc_target) as channel,
        httpx.AsyncClient(base_url=gateway.url) as client,
        contextlib.AsyncExitStack() as open_calls,
    ):
        half_open = [
            await open_calls.enter_async_context(_strangers(gateway, one.path, 20)) for one in HALF_OPEN.values()
        ]
        head = b"POST /mint HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"
        for writer in await _connections(settings.gateway_port, 5, kept=5):
            writer.write(head)
        await mint_pb2_grpc.MintServiceStub(channel).Mint(mint_pb2.MintRequest())
        await wallet_pb2_grpc.WalletServiceStub(channel).IssuePass(wallet_pb2.IssuePassRequest())
        verify = encounter_pb2_grpc.EncounterServiceStub(channel).VerifyEncounter
        await verify(encounter_pb2.VerifyEncounterRequest())
        await reforge_pb2_grpc.ReforgeServiceStub(channel).InitReforge(reforge_pb2.InitReforgeRequest())
        statuses = [(await client.post(path, json={})).status_code for path in ("/mint", "/issue-pass")]
        assert statuses == [201, 200]
        assert [seen.ended for seen in half_open] == [0, 0, 0, 0]
        assert len(services.calls) == 6
        # `gateway_request_timeout_s` after they began.
        for seen in half_open:
            await _wait_until(seen, 20)
            assert seen.statuses == {"200/14": 20}


async def test_a_call_larger_than_a_service_reads_gets_that_error(services: Services, gateway: Gateway) -> None:
    async with grpc.aio.insecure_channel(gateway.grpc_target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await channel.unary_unary("/vyris.mint.v1.MintService/Mint")(bytes(bounds.NATIVE_BODY_LIMIT_BYTES))
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.value.details() == "The request is larger than 64 KiB"


async def test_each_door_has_places_of_its_own(services: Services, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, services, gateway_max_requests=3)

    async def slow(request: Any, context: Any) -> mint_pb2.MintResponse:
        await asyncio.sleep(0.8)
        return MINTED

    services.on("Mint", slow)
    async with (
        running_gateway(tmp_path, settings) as gateway,
        grpc.aio.insecure_channel(gateway.grpc_target) as channel,
        httpx.AsyncClient(base_url=gateway.url) as client,
    ):
        stub = mint_pb2_grpc.MintServiceStub(channel)

        async def native() -> grpc.StatusCode:
            call = stub.Mint(mint_pb2.MintRequest())
            return await call.code()

        held = [asyncio.ensure_future(native()) for _ in range(3)]
        await asyncio.sleep(0.2)
        assert await native() is grpc.StatusCode.UNAVAILABLE
        assert (await client.get("/drops/genesis/2025")).status_code == 200
        assert (await client.get("/health")).status_code == 200
        assert (await health_pb2_grpc.HealthStub(channel).Check(WATCHED)).status == 1
        assert {await call for call in held} == {grpc.StatusCode.OK}


async def test_one_address_has_a_limit_of_connections(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "IDLE_TIMEOUT_S", 2)
    opened: list[asyncio.StreamWriter] = []  # else they are closed
    settings = make_settings(tmp_path, services, gateway_address_max_connections=8)
    async with running_gateway(tmp_path, settings) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
        opened += await _connections(settings.gateway_grpc_port, 4, kept=2)
        kept = await _connections(settings.gateway_port, 8, kept=6)
        assert (await client.get("/health")).status_code == 200
        for writer in kept[:2]:
            writer.close()
        await asyncio.sleep(0.1)
        opened += await _connections(settings.gateway_port, 4, kept=2)
        # The silent ones are closed; then there is room again.
        await asyncio.sleep(2)
        opened += await _connections(settings.gateway_port, 8, kept=6)
        async with httpx.AsyncClient(base_url=gateway.admin) as admin:
            statistics = (await admin.get("/stats?filter=address_connections_refused")).text
        assert statistics.strip().endswith(": 8")


async def test_each_door_takes_connections_of_its_own(services: Services, tmp_path: Path) -> None:
    opened: list[asyncio.StreamWriter] = []  # else they are closed
    settings = make_settings(tmp_path, services, gateway_max_connections=16)
    async with running_gateway(tmp_path, settings):
        opened += await _connections(settings.gateway_grpc_port, 8, kept=4)
        opened += await _connections(settings.gateway_port, 8, kept=8)


async def test_one_address_has_a_limit_of_streams(services: Services, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, services, gateway_address_max_streams=3)
    async with (
        running_gateway(tmp_path, settings) as gateway,
        grpc.aio.insecure_channel(gateway.grpc_target) as channel,
        _strangers(gateway, WATCH, 10, MESSAGE) as seen,
    ):
        await _wait_until(seen, 7)
        assert seen.statuses == {"200/8": 7}
        # Connections that end make no room for streams.
        for writer in await _connections(settings.gateway_port, 5, kept=5):
            writer.close()
        async with _strangers(gateway, WATCH, 2, MESSAGE) as more:
            await _wait_until(more, 2)
            assert more.statuses == {"200/8": 2}
        watch = mint_pb2_grpc.MintServiceStub(channel).WatchDrop(mint_pb2.WatchDropRequest())
        assert (await watch.read()).drop.minted == 0
        # Calls are not streams.
        async with _strangers(gateway, "/vyris.mint.v1.MintService/Mint", 10, b"") as minted:
            await _wait_until(minted, 10)
            assert minted.statuses == {"200/": 10}


async def test_behind_a_load_balancer_the_address_is_the_forwarded_one(services: Services, tmp_path: Path) -> None:
    opened: list[asyncio.StreamWriter] = []  # else they are closed
    settings = make_settings(
        tmp_path,
        services,
        gateway_address_max_streams=2,
        gateway_address_max_connections=2,
        gateway_trusted_hops=1,
    )

    async def codes(channel: grpc.aio.Channel, address: str) -> list[Any]:
        seen: list[Any] = []
        for _ in range(3):
            call = health_pb2_grpc.HealthStub(channel).Watch(WATCHED, metadata=(("x-forwarded-for", address),))
            kept.append(call)
            try:
                seen.append((await call.read()).status)
            except grpc.aio.AioRpcError as failure:
                seen.append(failure.code())
        return seen

    kept: list[Any] = []
    allowed = [1, 1, grpc.StatusCode.RESOURCE_EXHAUSTED]
    async with (
        running_gateway(tmp_path, settings) as gateway,
        grpc.aio.insecure_channel(gateway.grpc_target) as channel,
    ):
        # Its own connections are not counted.
        opened += await _connections(settings.gateway_port, 5, kept=5)
        for address in ("203.0.113.1", "203.0.113.2", "2001:db8::1", "2001:db8:0:1::1", "1::2:3:4:5:6"):
            assert await codes(channel, address) == allowed, address
        # A caller who has one IPv6 address has its /64.
        for address in ("2001:db8::2", "2001:db8:0:0:ffff::", "2001:db8:0:1:a:b:c:d", "1:0:0:2:9::"):
            assert set(await codes(channel, address)) == {grpc.StatusCode.RESOURCE_EXHAUSTED}, address
        for call in kept:
            call.cancel()
        await asyncio.sleep(0.3)
        assert await codes(channel, "203.0.113.1") == allowed


async def test_watched_health_takes_no_room_from_watched_drops(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "HEALTH_STREAMS_LIMIT", 3)
    settings = make_settings(tmp_path, services, gateway_max_requests=3)
    async with (
        running_gateway(tmp_path, settings) as gateway,
        grpc.aio.insecure_channel(gateway.grpc_target) as channel,
        _strangers(gateway, WATCH, 4, MESSAGE) as seen,
    ):
        await _wait_until(seen, 1)
        assert seen.statuses == {"200/14": 1}
        watch = mint_pb2_grpc.MintServiceStub(channel).WatchDrop(mint_pb2.WatchDropRequest())
        assert (await watch.read()).drop.minted == 0
        assert (await health_pb2_grpc.HealthStub(channel).Check(WATCHED)).status == 1
        assert (await mint_pb2_grpc.MintServiceStub(channel).Mint(mint_pb2.MintRequest())).status == "FULFILLED"
