"""Traces go to a real OTLP collector, reach the services, and carry neither query nor token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.integration.gateway.peers import Services, make_settings, running_gateway


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.arrived = asyncio.Event()

    async def Export(  # noqa: N802
        self,
        request: trace_service_pb2.ExportTraceServiceRequest,
        context: object,  # noqa: ARG002
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        self.arrived.set()
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
async def collector() -> AsyncIterator[tuple[Collector, int]]:
    server = grpc.aio.server()
    servicer = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, port
    await server.stop(0)


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
    assert tags["http.url"].endswith("/memberships/m/encounters")


async def test_a_dead_collector_does_not_matter(services: Services, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, services, otel_exporter_otlp_endpoint="127.0.0.1:1")
    async with running_gateway(tmp_path, settings) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
        assert (await client.post("/mint", json={})).status_code == 201
