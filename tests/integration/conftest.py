"""Fixtures that several of the integration tests use."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

from tests.stand_ins.mint_engine import MintMaker, mint_maker
from tests.stand_ins.trace_collector import Collector


@pytest.fixture
async def collector() -> AsyncIterator[tuple[Collector, int]]:
    """A collector of traces and its port."""
    server, servicer = grpc.aio.server(), Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, port
    await server.stop(0)


@pytest.fixture
async def make_mint(database_url: str, redis_url: str) -> AsyncIterator[MintMaker]:
    """Makes an engine with its own drop, or, with `drop`, another process on the same drop."""
    async with mint_maker(database_url, redis_url) as maker:
        yield maker
