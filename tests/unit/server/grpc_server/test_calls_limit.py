"""No more calls at once than the server was made for."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import grpc
import pytest

from services.server.grpc_server.rpc import UNEXPECTED, Rpc
from services.server.grpc_server.server import TOO_MANY_CALLS, TOO_MANY_STREAMS
from tests.unit.server.grpc_server.served import Stay, becomes, echo, methods_at_it, served, server_stream, unary

pytestmark = pytest.mark.usefixtures("grpc_server")

LIMIT = 3


async def test_a_call_beyond_the_limit_is_refused_and_served_when_another_has_ended() -> None:
    stay = Stay()
    async with served(LIMIT, Stay=unary(stay), Echo=unary(echo)) as running:
        held = [running.call("Stay", b"%d" % number) for number in range(LIMIT)]
        await becomes(lambda: stay.there == LIMIT)
        for _ in range(5):
            error = await running.refused("Echo")
            assert (error.code(), error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, TOO_MANY_CALLS)
        stay.go.set()
        assert await asyncio.gather(*held) == [b"0", b"1", b"2"]
        assert await running.call("Echo", b"again") == b"again"


async def test_streams_take_half_and_calls_have_room() -> None:
    stay = Stay()

    async def stream(request: bytes, rpc: Rpc) -> None:
        await rpc.write(await stay(request, rpc))

    async with served(2 * LIMIT, Stream=server_stream(stream), Echo=unary(echo)) as running:
        held = [running.listen("Stream") for _ in range(LIMIT)]
        await becomes(lambda: stay.there == LIMIT)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            _ = [message async for message in running.listen("Stream")]
        assert (refusal.value.code(), refusal.value.details()) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            TOO_MANY_STREAMS,
        )
        assert await running.call("Echo", b"room") == b"room"
        stay.go.set()
        for one in held:
            assert len([message async for message in one]) == 1
        await becomes(lambda: methods_at_it() == 0)
        assert len([message async for message in running.listen("Stream")]) == 1


async def test_calls_that_end_in_any_way_make_room() -> None:
    stay = Stay()

    async def fail(request: bytes, rpc: Rpc) -> bytes:
        raise RuntimeError

    async def abort(request: bytes, rpc: Rpc) -> bytes:
        await rpc.abort(grpc.StatusCode.NOT_FOUND)

    async def write(request: bytes, rpc: Rpc) -> None:
        await rpc.write(b"")

    methods = {"Fail": unary(fail), "Abort": unary(abort), "Write": server_stream(write), "Stay": unary(stay)}
    async with served(LIMIT, **methods) as running:
        for _ in range(LIMIT + 1):
            assert (await running.refused("Fail")).code() == grpc.StatusCode.UNKNOWN
            await becomes(lambda: methods_at_it() == 0)
        for _ in range(LIMIT + 1):
            assert (await running.refused("Abort")).code() == grpc.StatusCode.NOT_FOUND
            await becomes(lambda: methods_at_it() == 0)
        for _ in range(LIMIT + 1):
            assert [message async for message in running.listen("Write")] == [b""]
            await becomes(lambda: methods_at_it() == 0)
        for _ in range(LIMIT + 1):
            call = running.call("Stay")
            await becomes(lambda: stay.there == 1)
            call.cancel()
            await becomes(lambda: methods_at_it() == 0)
        held = [running.call("Stay") for _ in range(LIMIT)]
        await becomes(lambda: stay.there == LIMIT)
        assert (await running.refused("Stay")).code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        stay.go.set()
        await asyncio.gather(*held)


async def test_a_method_that_goes_on_after_its_caller_counts_until_it_ends() -> None:
    go = asyncio.Event()

    async def stubborn(request: bytes, rpc: Rpc) -> bytes:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue
        return b""

    async with served(1, Stubborn=unary(stubborn), Echo=unary(echo)) as running:
        assert (await running.refused("Stubborn", timeout=0.1)).code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert (await running.refused("Echo")).code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        go.set()
        await becomes(lambda: methods_at_it() == 0)
        assert await running.call("Echo", b"again") == b"again"


@pytest.mark.parametrize("response_streaming", [False, True])
async def test_a_call_that_fails_before_its_method_begins_takes_no_place(response_streaming: bool) -> None:
    # No `request_streaming`: the first look at it raises.
    broken = SimpleNamespace(response_streaming=response_streaming)
    stay = Stay()
    async with served(LIMIT, Broken=broken, Stay=unary(stay), Write=server_stream(_write)) as running:
        for _ in range(LIMIT + 1):
            error = await running.refused("Broken", timeout=2)
            assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, UNEXPECTED)
        assert [message async for message in running.listen("Write")] == [b""]
        held = [running.call("Stay") for _ in range(LIMIT)]
        await becomes(lambda: stay.there == LIMIT)
        stay.go.set()
        await asyncio.gather(*held)


async def _write(request: bytes, rpc: Rpc) -> None:
    await rpc.write(b"")
