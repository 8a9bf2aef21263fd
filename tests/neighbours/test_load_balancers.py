"""Behind nginx and HAProxy, configured as `docs/operations.md` says, callers get what they get from the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.server.runtime.call import CALLER_ADDRESS_KEY
from tests.integration.gateway.contract import assert_error
from tests.integration.gateway.peers import Gateway, Services, make_settings, running_gateway, running_services
from tests.neighbours.balancers import NAMES, Certificate, Doors, in_full, tcp_balancer, tls_balancer
from tests.ports import free_port
from tests.stand_ins.authority import Authority
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc

FORGED = {"x-forwarded-for": "198.51.100.66", "x-vyris-caller-address": "198.51.100.66"}
HSTS = ["max-age=31536000"]
CALLER = "127.0.0.9"
OTHER_CALLER = "127.0.0.10"


@dataclass
class Site:
    """A balancer with TLS, the gateway behind it, and the services that the gateway reaches."""

    port: int
    gateway: Gateway
    services: Services
    authority: Authority

    def client(self, address: str = CALLER, *, http2: bool = False) -> httpx.AsyncClient:
        context = ssl.create_default_context(cafile=str(self.authority.ca_file))
        transport = httpx.AsyncHTTPTransport(local_address=address, verify=context, http2=http2)
        return httpx.AsyncClient(base_url=f"https://127.0.0.1:{self.port}", transport=transport, timeout=10)

    def channel(self, port: int | None = None) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(self.authority.ca_file.read_bytes())
        return grpc.aio.secure_channel(f"127.0.0.1:{port or self.port}", credentials)

    def addresses(self) -> list[str]:
        return [call.metadata[CALLER_ADDRESS_KEY] for call in self.services.calls]


def doors(gateway: Gateway) -> Doors:
    return Doors(gateway.settings.gateway_port, gateway.settings.gateway_grpc_port)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
async def _behind(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Services, Gateway]]:
    folder = tmp_path_factory.mktemp("gateway")
    async with running_services() as services:
        # A caller sends four requests at once, and then one every second.
        limits = {"gateway_rate_limit_rps": 1, "gateway_rate_limit_burst": 20}
        settings = make_settings(folder, services, gateway_trusted_hops=1, **limits)
        async with running_gateway(folder, settings) as gateway:
            yield services, gateway


@pytest.fixture(scope="module", params=NAMES)
def _site(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    authority: Authority,
    _behind: tuple[Services, Gateway],
) -> Iterator[Site]:
    certificate = Certificate(*authority.issue("balancer", "localhost"))
    folder = tmp_path_factory.mktemp(request.param)
    # A silent stream is silent for longer than other calls may be.
    changes = {"timeout client 30s": "timeout client 1s"} if request.param == "haproxy" else {}
    with tls_balancer(request.param, folder, doors(_behind[1]), certificate, changes) as port:
        yield Site(port, _behind[1], _behind[0], authority)


@pytest.fixture
def site(_site: Site) -> Site:
    _site.services.reset()
    return _site


@pytest.mark.parametrize("http2", [False, True])
async def test_json_callers_keep_their_address_and_learn_of_tls_once(site: Site, *, http2: bool) -> None:
    async with site.client(http2=http2) as client:
        answer = await client.post("/mint", json={}, headers=FORGED)
        unknown = await client.get("/nowhere")
    assert (answer.status_code, answer.http_version) == (201, "HTTP/2" if http2 else "HTTP/1.1")
    assert_error(unknown, 404, "NOT_FOUND")
    assert answer.headers.get_list("strict-transport-security") == HSTS
    assert unknown.headers.get_list("strict-transport-security") == HSTS
    assert site.addresses() == [CALLER]


async def test_grpc_callers_share_the_address_with_json(site: Site) -> None:
    async with site.channel() as channel:
        mint = mint_pb2_grpc.MintServiceStub(channel)
        minted = await mint.Mint(mint_pb2.MintRequest(), metadata=tuple(FORGED.items()))
        seen = [update.drop.minted async for update in mint.WatchDrop(mint_pb2.WatchDropRequest(tier="genesis"))]
    assert minted.status == "FULFILLED"
    assert seen == [0, 1, 2]
    assert site.addresses() == ["127.0.0.1"]


@in_full
async def test_a_silent_stream_is_left_alone(site: Site) -> None:
    async with site.channel() as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service="vyris.mint.v1.MintService")
        )
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(watch.read()), 2)
        watch.cancel()


@pytest.mark.parametrize("offer", ["h2c", "websocket", "TLS/1.2"])
async def test_an_offer_to_switch_protocols_is_ignored(site: Site, offer: str) -> None:
    headers = {"connection": "Upgrade, HTTP2-Settings", "upgrade": offer, "http2-settings": "AAMAAABkAAQAoAAAAAIAAAAA"}
    async with site.client("127.0.0.11") as client:
        assert (await client.post("/mint", json={}, headers=headers)).status_code == 201


@in_full
async def test_the_limit_of_one_caller_leaves_the_others_alone(site: Site) -> None:
    async with site.client("127.0.0.12") as greedy, site.client("127.0.0.13") as other:
        # Another address each time, if it were believed.
        statuses = {
            (await greedy.post("/mint", json={}, headers={"x-forwarded-for": f"198.51.100.{n}"})).status_code
            for n in range(30)
        }
        assert statuses == {201, 429}
        assert (await other.post("/mint", json={})).status_code == 201


@in_full
@pytest.mark.parametrize("name", NAMES)
async def test_without_a_gateway_callers_get_the_contracts_error(
    name: str, authority: Authority, tmp_path: Path
) -> None:
    certificate = Certificate(*authority.issue("alone", "localhost"))
    with tls_balancer(name, tmp_path, Doors(free_port(), free_port()), certificate) as port:
        site = Site(port, None, None, authority)  # type: ignore[arg-type]
        async with site.client() as client:
            answer = await client.post("/mint", json={})
        assert_error(answer, 503, "RETRYABLE", retryable=True)
        assert answer.headers["retry-after"] == "1"
        async with site.channel() as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await mint_pb2_grpc.MintServiceStub(channel).Mint(mint_pb2.MintRequest())
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@in_full
async def test_a_gateway_with_tls_knows_callers_by_the_proxy_protocol(authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.issue("gateway", "localhost")
    tls: dict[str, Any] = {"gateway_tls_cert_file": cert, "gateway_tls_key_file": key}
    # Six of JSON, two of gRPC.
    limits = {"gateway_proxy_protocol": True, "gateway_address_max_connections": 8}
    async with running_services() as services:
        settings = make_settings(tmp_path, services, **tls, **limits)
        async with running_gateway(tmp_path, settings) as gateway:
            with tcp_balancer(tmp_path, doors(gateway)) as own:
                site = Site(own.json_port, gateway, services, authority)
                for http2 in (False, True):
                    async with site.client(http2=http2) as client:
                        answer = await client.post("/mint", json={}, headers=FORGED)
                    assert answer.status_code == 201
                    assert answer.headers.get_list("strict-transport-security") == HSTS
                async with site.channel(own.grpc_port) as channel:
                    await mint_pb2_grpc.MintServiceStub(channel).Mint(mint_pb2.MintRequest())
                assert site.addresses() == [CALLER, CALLER, "127.0.0.1"]
                await _assert_connections_are_counted_by_caller(site)
            # Without the protocol nobody is served: the caller's address would be unknown.
            context = ssl.create_default_context(cafile=str(authority.ca_file))
            async with httpx.AsyncClient(base_url=gateway.url, verify=context) as direct:
                with pytest.raises(httpx.TransportError):
                    await direct.post("/mint", json={})


async def _assert_connections_are_counted_by_caller(site: Site) -> None:
    held = []
    try:
        for _ in range(6):
            held.append(await asyncio.open_connection("127.0.0.1", site.port, local_addr=(CALLER, 0)))
        await asyncio.sleep(0.2)
        async with site.client() as client:
            with pytest.raises(httpx.TransportError):
                await client.post("/mint", json={})
        async with site.client(OTHER_CALLER) as other:
            assert (await other.post("/mint", json={})).status_code == 201
    finally:
        for _, writer in held:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
