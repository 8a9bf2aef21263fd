"""One traced mint: the service continues the gateway's trace, and the batch links to it."""

from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path

import grpc
import httpx

from services.server import tracing
from stack.ports import PortTaker
from tests.commands import run_vyris
from tests.forked import fork_service, wait_until_it_serves
from tests.stand_ins.trace_collector import Collector
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc

TRACE_ID, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


async def test_a_mint_is_traced_from_the_gateways_span_to_postgres_and_redis(
    database_url: str, redis_url: str, collector: tuple[Collector, int], tmp_path: Path
) -> None:
    servicer, collector_port = collector
    ports = PortTaker(set())
    port, metrics_port = ports.free_port(), ports.free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "MINT_PORT": str(port),
        "VYRIS_STATE_DIR": str(tmp_path),
        "METRICS_PORT": str(metrics_port),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector_port}",
    }
    made = await asyncio.to_thread(run_vyris, environment, "drop", "create", "--if-missing")
    assert made.returncode == 0, made.stderr
    process = fork_service("mint", environment, folder=tmp_path, log=tmp_path / "log")
    try:
        await asyncio.to_thread(wait_until_it_serves, "vyris.mint.v1.MintService", port)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = mint_pb2_grpc.MintServiceStub(channel)
            request = mint_pb2.MintRequest(receipt_data="secret receipt", user_id="secret user")
            metadata = [("traceparent", f"00-{TRACE_ID}-{PARENT}-01"), ("authorization", "Bearer secret token")]
            answer = await stub.Mint(request, metadata=metadata, timeout=60)
            assert answer.status == "FULFILLED"
            not_sampled = [("traceparent", f"00-{'1' * 32}-{PARENT}-00")]
            await stub.Mint(request, metadata=not_sampled, timeout=60)
        scraped = await asyncio.to_thread(scrape, metrics_port)
        process.terminate()
        assert await asyncio.to_thread(process.wait, 60) == 0  # waiting spans are sent before the end
    finally:
        process.kill()
    mine = [span for span in servicer.spans if span.trace_id.hex() == TRACE_ID]
    (call,) = [span for span in mine if span.name == "/vyris.mint.v1.MintService/Mint"]
    assert call.parent_span_id.hex() == PARENT
    (batch,) = [span for span in servicer.spans if span.name == "batch"]
    assert [link.span_id for link in batch.links] == [call.span_id]
    assert batch.trace_id != call.trace_id
    steps = [span.name for span in servicer.spans if span.parent_span_id == batch.span_id]
    assert {"postgres", "redis"} <= set(steps)
    # A statement has its name.
    asked = [tag.value.string_value for span in servicer.spans for tag in span.attributes if "summary" in tag.key]
    assert asked.count("mint_receipts") == 1  # the other call's is in no trace
    assert not [span for span in servicer.spans if span.trace_id.hex() == "1" * 32]
    assert "secret" not in str(servicer.spans)
    # The metrics link to the traces: a call's to its own, a step's to its batch.
    for metric, trace_id in (("vyris_rpc_seconds", TRACE_ID), ("vyris_mint_step_seconds", batch.trace_id.hex())):
        assert re.search(rf'^{metric}_bucket.* # {{trace_id="{trace_id}"}}', scraped, re.MULTILINE), metric
    assert "1" * 32 not in scraped


def scrape(port: int) -> str:
    return httpx.get(f"http://127.0.0.1:{port}/metrics", headers={"accept": "application/openmetrics-text"}).text


def test_without_a_collector_nothing_is_traced() -> None:
    assert not tracing.is_on()
    began_s = time.perf_counter()
    for _ in range(10_000):
        with tracing.step_span("postgres", "postgresql") as span:
            assert span is None
    assert time.perf_counter() - began_s < 1
