"""Callers who hang up, or have no more time."""

from __future__ import annotations

import asyncio
import gc
import math
from types import SimpleNamespace

import grpc
import pytest

from services.server.grpc_server import core
from services.server.grpc_server.completions import Completions
from services.server.grpc_server.core_rpc import CoreRpc
from services.server.grpc_server.rpc import Rpc
from tests.unit.server.grpc_server.raw_caller import framed, raw_caller
from tests.unit.server.grpc_server.served import SERVICE, Stay, becomes, echo, methods_at_it, served, unary

pytestmark = pytest.mark.usefixtures("grpc_server")


async def refuse(request: bytes, rpc: Rpc) -> None:
    rpc.end_with(grpc.StatusCode.NOT_FOUND, "gone")


def calls_in_memory() -> int:
    return sum(isinstance(thing, Rpc) for thing in gc.get_objects())


async def test_a_method_is_cancelled_when_its_caller_hangs_up() -> None:
    stay = Stay()
    async with served(Stay=unary(stay)) as running:
        call = running.call("Stay")
        await becomes(lambda: stay.there == 1)
        call.cancel()
        await becomes(lambda: stay.cancelled == 1)
        await becomes(lambda: methods_at_it() == 0)


async def test_a_method_is_cancelled_when_the_deadline_passes() -> None:
    stay = Stay()
    async with served(Stay=unary(stay)) as running:
        error = await running.refused("Stay", timeout=0.2)
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await becomes(lambda: stay.cancelled == 1)
        await becomes(lambda: methods_at_it() == 0)


async def test_the_server_itself_keeps_the_deadline_of_a_caller_who_does_not() -> None:
    stay = Stay()
    async with served(Stay=unary(stay)) as running, raw_caller(running.port) as caller:
        stream = await caller.ask(f"/{SERVICE}/Stay", framed(b""), extra=[(b"grpc-timeout", b"200m")])
        answer = await caller.answer(stream)
        assert answer.reset or answer.header(b"grpc-status") == b"4"
        await becomes(lambda: stay.cancelled == 1)


async def test_a_method_may_go_on_though_it_is_cancelled_and_its_answer_goes_nowhere() -> None:
    ended = asyncio.Event()

    async def stubborn(request: bytes, rpc: Rpc) -> bytes:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            ended.set()
        return b"too late"

    async with served(Stubborn=unary(stubborn), Echo=unary(echo)) as running:
        call = running.call("Stubborn")
        await becomes(lambda: methods_at_it() == 1)
        call.cancel()
        async with asyncio.timeout(2):
            await ended.wait()
        assert await running.call("Echo", b"still") == b"still"


async def test_a_method_that_is_cancelled_from_within_ends_its_call() -> None:
    async def method(request: bytes, rpc: Rpc) -> bytes:
        raise asyncio.CancelledError

    async with served(Cancelled=unary(method)) as running:
        with pytest.raises((asyncio.CancelledError, grpc.aio.AioRpcError)):
            await running.call("Cancelled", timeout=5)


async def test_a_caller_who_hangs_up_before_his_message_leaves_nothing() -> None:
    stay = Stay()
    async with served(calls_limit=1, Stay=unary(stay), Echo=unary(echo)) as running:
        for _ in range(5):
            async with raw_caller(running.port) as caller:
                await caller.ask(f"/{SERVICE}/Stay", framed(b"hello")[:-1], ends=False)
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.02)
        assert await running.call("Echo", b"still") == b"still"
        await becomes(lambda: methods_at_it() == 0)
        assert stay.there == 0


@pytest.mark.slow
@pytest.mark.parametrize("way", ["answered", "refused", "cancelled"])
async def test_a_call_is_forgotten_without_the_garbage_collector(way: str) -> None:
    stay = Stay()
    async with served(Stay=unary(stay), Echo=unary(echo), Refuse=unary(refuse)) as running:
        await running.call("Echo")
        gc.collect()
        gc.disable()
        try:
            if way == "answered":
                await asyncio.gather(*(running.call("Echo") for _ in range(20)))
            elif way == "refused":
                await asyncio.gather(*(running.refused("Refuse") for _ in range(20)))
            else:
                await asyncio.gather(*(running.refused("Stay", timeout=0.2) for _ in range(20)))
            await becomes(lambda: methods_at_it() == 0)
            await asyncio.sleep(0.1)
            assert calls_in_memory() == 0
        finally:
            gc.enable()


@pytest.mark.parametrize("grpc_server", ["core"], indirect=True)
async def test_a_call_that_is_cancelled_before_its_method_began_is_forgotten_too(completions: Completions) -> None:
    tags: list[core.Tag] = []
    call = SimpleNamespace(start_server_batch=lambda _, tag: tags.append(tag))
    details = SimpleNamespace(deadline=math.inf)
    ended: list[object] = []
    gc.collect()
    gc.disable()
    try:
        rpc = CoreRpc(
            SimpleNamespace(call=call, call_details=details, invocation_metadata=()),
            unary(echo),
            completions,
            lambda _: ended.append("ended"),
        )
        rpc.begin()
        # gRPC core may have both, the message and that the caller has gone, before the loop gets to the method.
        on_closed, on_message = tags
        on_message(SimpleNamespace(batch_operations=[SimpleNamespace(message=lambda: b"hello")]))
        on_closed(SimpleNamespace(batch_operations=[SimpleNamespace(cancelled=lambda: True)]))
        del rpc, on_closed, on_message
        tags.clear()
        await becomes(lambda: ended == ["ended"])
        await asyncio.sleep(0.01)
        assert calls_in_memory() == 0
    finally:
        gc.enable()
