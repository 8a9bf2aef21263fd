"""Services, limits and the access log use the same address of a caller, and no caller can choose it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import grpc
import httpx
import pytest

from services.server.runtime.call import CALLER_ADDRESS_KEY
from tests.integration.gateway.peers import Gateway, Services, make_settings, raw_exchange, running_gateway
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc

FORGED = ((CALLER_ADDRESS_KEY, "198.51.100.66"), ("X-Vyris-Caller-Address", "198.51.100.66"))


async def _call(gateway: Gateway, door: str, headers: Sequence[tuple[str, str]]) -> None:
    if door == "json":
        async with httpx.AsyncClient(base_url=gateway.url) as client:
            # A request with a query takes another route.
            for path in ("/mint", "/mint?x=y"):
                assert (await client.post(path, json={}, headers=list(headers))).status_code == 201
        return
    async with grpc.aio.insecure_channel(gateway.grpc_target) as channel:
        metadata = tuple((name.lower(), value) for name, value in headers)
        await mint_pb2_grpc.MintServiceStub(channel).Mint(mint_pb2.MintRequest(), metadata=metadata)


# Trusted hops, the value of `x-forwarded-for`, and the caller's address.
CASES = {
    0: [((), "127.0.0.1"), (("203.0.113.9",), "127.0.0.1")],
    1: [
        (("203.0.113.9",), "203.0.113.9"),
        # The balancer appends the address that it saw; the caller may have invented those before.
        (("198.51.100.66, 203.0.113.9",), "203.0.113.9"),
        (("2001:db8::7",), "2001:db8::7"),
        # No proxy writes such a value.
        ((), "127.0.0.1"),
        (("nonsense",), "127.0.0.1"),
    ],
    # The edge appended the caller, the balancer the edge.
    2: [(("198.51.100.66, 203.0.113.9, 10.0.0.5",), "203.0.113.9")],
}


@pytest.mark.parametrize("hops", CASES)
async def test_services_and_the_log_have_the_address_that_the_gateway_resolved(
    services: Services, tmp_path: Path, hops: int
) -> None:
    settings = make_settings(tmp_path, services, gateway_trusted_hops=hops)
    logged = []
    async with running_gateway(tmp_path, settings, wait_for=("mint",)) as gateway:
        for forwarded, address in CASES[hops]:
            services.reset()
            for door in ("json", "grpc"):
                await _call(gateway, door, [*FORGED, *(("x-forwarded-for", value) for value in forwarded)])
            assert [call.metadata[CALLER_ADDRESS_KEY] for call in services.calls] == [address] * 3
            logged += [address] * 3
        for _ in range(30):
            lines = gateway.access_log.read_text().splitlines()
            if len(lines) == len(logged):
                break
            await asyncio.sleep(0.1)
    assert [json.loads(line)["caller"] for line in lines] == logged


async def test_the_proxy_protocol_names_the_caller_and_is_required_where_it_is_set(
    services: Services, tmp_path: Path
) -> None:
    settings = make_settings(tmp_path, services, gateway_proxy_protocol=True)
    lines = (
        "POST /mint HTTP/1.1",
        "host: x",
        "content-type: application/json",
        "content-length: 2",
        "connection: close",
    )
    request = "\r\n".join((*lines, "x-forwarded-for: 198.51.100.66", "", "{}")).encode()
    async with running_gateway(tmp_path, settings, wait_for=("mint",)):
        announced = b"PROXY TCP4 203.0.113.9 192.0.2.1 50000 443\r\n" + request
        assert (await raw_exchange(settings.gateway_port, announced)).startswith(b"HTTP/1.1 201")
        assert await raw_exchange(settings.gateway_port, request) == b""
        assert await raw_exchange(settings.gateway_grpc_port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == b""
    assert [call.metadata[CALLER_ADDRESS_KEY] for call in services.calls] == ["203.0.113.9"]
