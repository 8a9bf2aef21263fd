"""The ids in a path (of a phone, of a membership) reach neither the access log, nor Envoy's own log, nor traces."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from gateway.routes import http_routes, load_descriptors
from stack.log_lines import readable
from tests.integration.gateway.peers import Gateway, Services, make_settings, raw_exchange, running_gateway
from tests.stand_ins.trace_collector import Collector
from vyris.http_rules import VARIABLE
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc

SECRET = "f00dfeedf00dfeed"
TEMPLATES = sorted(
    {(route.http_method, route.template) for route in http_routes(load_descriptors()) if "{" in route.template}
)
RESEMBLING = (
    f"/v1/devices/{SECRET}",
    f"/v1/devices/{SECRET}/registrations/pass.example/serial/",
    f"/v1//devices/{SECRET}/registrations",
    f"/V1/Devices/{SECRET}/registrations/pass.example",
    f"/v1/devices/{SECRET}%2fregistrations/pass.example",
    f"/api/v1/devices/{SECRET}/registrations/pass.example?x={SECRET}",
    f"/{SECRET}",
    f"/mint/{SECRET}",
)


async def _lines(gateway: Gateway, count: int) -> list[dict[str, Any]]:
    for _ in range(40):
        lines = gateway.access_log.read_text().splitlines()
        if len(lines) >= count:
            break
        await asyncio.sleep(0.1)
    assert len(lines) == count
    return [json.loads(line) for line in lines]


async def _ask(channel: grpc.aio.Channel, path: str, **how: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await channel.unary_unary(path)(b"", **how)


async def test_no_log_and_no_trace_holds_what_a_path_names(
    services: Services, collector: tuple[Collector, int], tmp_path: Path
) -> None:
    servicer, port = collector
    settings = make_settings(tmp_path, services, otel_exporter_otlp_endpoint=f"127.0.0.1:{port}")
    async with running_gateway(tmp_path, settings) as gateway:
        absolute = f"GET http://x/v1/passes/{SECRET}/{SECRET}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        await raw_exchange(settings.gateway_port, absolute.encode())
        async with grpc.aio.insecure_channel(gateway.url.removeprefix("http://")) as channel:
            await _ask(channel, f"/v1/devices/{SECRET}")
        async with grpc.aio.insecure_channel(gateway.grpc_target) as channel:
            await _ask(channel, f"/v1/devices/{SECRET}")
            await _ask(channel, f"/vyris.mint.v1.MintService/{SECRET}")
            await mint_pb2_grpc.MintServiceStub(channel).Mint(mint_pb2.MintRequest())
        async with httpx.AsyncClient(base_url=gateway.url) as client:
            for path in RESEMBLING:
                assert (await client.get(path)).status_code == 404
            for method, template in TEMPLATES:
                await client.request(method, VARIABLE.sub(SECRET, template))
        lines = await _lines(gateway, 5 + len(RESEMBLING) + len(TEMPLATES))
        async with asyncio.timeout(15):
            # Envoy sends five at a time, and the rest after five seconds; before the filters there are none.
            while len(servicer.spans) < len(lines) - 6:
                await asyncio.sleep(0.1)
    assert SECRET not in json.dumps(lines)
    assert SECRET not in "".join(readable("gateway", json.dumps(line), "cyan").plain for line in lines)
    assert SECRET not in (tmp_path / "envoy.log").read_text()
    assert [span for span in servicer.spans if SECRET in str(span)] == []
    # The route names the request.
    routes = [line.get("route") for line in lines]
    assert routes[-len(TEMPLATES) :] == [f"{method} {template}" for method, template in TEMPLATES]
    assert routes[:5] == [None, "grpc", None, "/vyris.mint.v1.MintService/", "/vyris.mint.v1.MintService/Mint"]
    assert routes[5 : -len(TEMPLATES)] == [None] * len(RESEMBLING)
    tags = {tag.key for span in servicer.spans for tag in span.attributes}
    assert {"http.route", "http.url", "grpc.path"} <= tags
