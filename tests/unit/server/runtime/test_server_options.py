"""Each option of a service's port takes effect; gRPC ignores a name that it does not know."""

from __future__ import annotations

import grpc
import pytest

from services.server.grpc_server.choice import MakeServer
from services.server.grpc_server.rpc import Rpc
from services.server.runtime.process import MESSAGE_LIMIT_BYTES, METADATA_LIMIT_BYTES, PING_INTERVAL_MS, server_options
from tests.unit.server.grpc_server.raw_caller import raw_caller
from tests.unit.server.grpc_server.served import Stay, echo, served, server_stream, unary

pytestmark = pytest.mark.usefixtures("grpc_server")

CALLS_LIMIT = 1_234
QUICK_MS = 100
MAX_CONCURRENT_STREAMS = 3  # RFC 9113 section 6.5.2


async def _stay(request: bytes, rpc: Rpc) -> None:
    await Stay()(request, rpc)


async def test_pings_at_the_permitted_rate_never_end_a_connection() -> None:
    options = server_options(CALLS_LIMIT, ping_interval_ms=QUICK_MS)
    async with served(options=options, Echo=unary(echo)) as running, raw_caller(running.port) as caller:
        assert await caller.pings(8, 1.5 * QUICK_MS / 1000) == ""


async def test_pings_at_the_permitted_rate_never_end_a_quiet_stream() -> None:
    options = server_options(CALLS_LIMIT, ping_interval_ms=QUICK_MS)
    async with served(options=options, Quiet=server_stream(_stay)) as running, raw_caller(running.port) as caller:
        await caller.ask("/test.Service/Quiet", b"\0\0\0\0\0")
        assert await caller.pings(8, 1.5 * QUICK_MS / 1000) == ""


async def test_pings_that_come_too_often_end_the_connection() -> None:
    options = server_options(CALLS_LIMIT)
    async with served(options=options, Echo=unary(echo)) as running, raw_caller(running.port) as caller:
        assert await caller.pings(8, 0.02) == "too_many_pings"


def test_the_gateway_and_the_client_ping_no_more_often_than_permitted() -> None:
    assert PING_INTERVAL_MS <= 20_000 / 2


async def test_no_more_streams_at_once_than_the_limit() -> None:
    options = server_options(CALLS_LIMIT)
    async with served(options=options, Echo=unary(echo)) as running, raw_caller(running.port) as caller:
        assert (await caller.server_settings())[MAX_CONCURRENT_STREAMS] == CALLS_LIMIT


@pytest.mark.parametrize(("more", "code"), [(0, None), (1, grpc.StatusCode.RESOURCE_EXHAUSTED)])
async def test_a_message_has_a_limit(more: int, code: grpc.StatusCode | None) -> None:
    async with served(options=server_options(CALLS_LIMIT), Echo=unary(echo)) as running:
        message = b"x" * (MESSAGE_LIMIT_BYTES + more)
        if code is None:
            assert await running.call("Echo", message) == message
        else:
            assert (await running.refused("Echo", message)).code() == code


async def test_metadata_may_be_longer_than_grpcs_default() -> None:
    """As long as the gateway's limit for headers; by default gRPC begins to refuse at random from 8 KiB on."""
    value = "x" * (METADATA_LIMIT_BYTES - 2_048)
    async with served(options=server_options(CALLS_LIMIT), Echo=unary(echo)) as running:
        for _ in range(20):
            assert await running.call("Echo", b"", metadata=(("x-long", value),)) == b""


async def test_a_port_that_is_taken_is_an_error(make_server: MakeServer) -> None:
    async with served(options=server_options(CALLS_LIMIT), Echo=unary(echo)) as running:
        second = make_server(options=server_options(CALLS_LIMIT), calls_limit=1)
        with pytest.raises(RuntimeError):
            second.add_insecure_port(f"127.0.0.1:{running.port}")
