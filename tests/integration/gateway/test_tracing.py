"""Traces go to a real OTLP collector, reach the services, and carry neither query nor token."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from tests.integration.gateway.peers import Services, make_settings, running_gateway
from tests.stand_ins.trace_collector import Collector


async def test_one_trace_from_the_gateway_to_the_service(
    services: Services, collector: tuple[Collector, int], tmp_path: Path
) -> None:
    servicer, port = collector
    settings = make_settings(tmp_path, services, otel_exporter_otlp_endpoint=f"http://127.0.0.1:{port}")
    async with running_gateway(tmp_path, settings) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
        headers = {"authorization": "ApplePass topsecret"}
        answer = await client.get("/memberships/m/encounters?page_token=topsecret&x=topsecret", headers=headers)
        assert answer.status_code == 200
        await asyncio.wait_for(servicer.arrived.wait(), 15)
    trace_id = services.calls[-1].metadata["traceparent"].split("-")[1]
    spans = [span for span in servicer.spans if span.trace_id.hex() == trace_id]
    assert spans
    assert not [span for span in servicer.spans if "topsecret" in str(span)]
    tags = {tag.key: tag.value.string_value for span in spans for tag in span.attributes}
    assert tags["http.route"] == "GET /memberships/{membership_id}/encounters"


async def test_a_dead_collector_does_not_matter(services: Services, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, services, otel_exporter_otlp_endpoint="127.0.0.1:1")
    async with running_gateway(tmp_path, settings) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
        assert (await client.post("/mint", json={})).status_code == 201
