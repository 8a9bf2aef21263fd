"""Many at once, and rude."""

from __future__ import annotations

import asyncio
import random

import grpc
import pytest

from services.server.grpc_server.choice import Kind
from services.server.grpc_server.rpc import Rpc
from services.server.runtime.process import server_options
from tests.unit.server.grpc_server.raw_caller import framed, raw_caller
from tests.unit.server.grpc_server.served import (
    NEVER_S,
    SERVICE,
    Served,
    becomes,
    echo,
    methods_at_it,
    served,
    server_stream,
    unary,
)

pytestmark = [pytest.mark.usefixtures("grpc_server"), pytest.mark.slow]

MANY = 1000
# As a service process sets them: gRPC's own bounds refuse calls that wait at random.
OPTIONS = server_options(MANY)


async def slow_echo(request: bytes, rpc: Rpc) -> bytes:
    await asyncio.sleep(0.02)
    return request


async def test_a_thousand_calls_at_once_are_each_answered_with_their_own() -> None:
    async with served(MANY, OPTIONS, Echo=unary(slow_echo)) as running:
        messages = [b"%d" % number for number in range(MANY)]
        assert await asyncio.gather(*(running.call("Echo", message) for message in messages)) == messages
        await becomes(lambda: methods_at_it() == 0)


async def test_the_thread_that_waits_loses_no_event_between_two_turns_of_the_loop() -> None:
    async def in_turn(running: Served, caller: int) -> None:
        for number in range(100):
            message = b"%d of %d" % (number, caller)
            assert await running.call("Echo", message) == message

    async with served(Echo=unary(echo)) as running:
        await asyncio.gather(*(in_turn(running, caller) for caller in range(10)))


async def test_a_thousand_calls_cancelled_at_any_time_leave_nothing(grpc_server: Kind) -> None:
    chance = random.Random(1)

    async def ticking(request: bytes, rpc: Rpc) -> None:
        for _ in range(3):
            await rpc.write(request)
            await asyncio.sleep(0.002)

    async def hang_up(running: Served) -> None:
        call: grpc.aio.Call
        if chance.random() < 0.5:
            call = running.call("Echo", b"x", timeout=NEVER_S)
        else:
            call = running.listen("Tick", b"x", timeout=NEVER_S)
        await asyncio.sleep(chance.random() * 0.05)
        call.cancel()
        await call.code()

    async with served(MANY, OPTIONS, Echo=unary(slow_echo), Tick=server_stream(ticking)) as running:
        for _ in range(5):
            await asyncio.gather(*(hang_up(running) for _ in range(MANY // 5)))
        await becomes(lambda: methods_at_it() == 0)
        # For those whose method has not even begun. gRPC core counts a stream until its memory is free; with `grpc.aio`
        # that takes more than a second.
        await asyncio.sleep(2.5 if grpc_server == "aio" else 0.2)
        # The count of calls has not leaked: there is room for as many as ever.
        messages = [b"%d" % number for number in range(MANY)]
        assert await asyncio.gather(*(running.call("Echo", message) for message in messages)) == messages


@pytest.mark.parametrize("sent", [b"", framed(b"hello")[:-1], framed(b"hello")])
async def test_callers_who_vanish_amid_their_call_leave_nothing(sent: bytes) -> None:
    chance = random.Random(2)

    async def vanish(running: Served) -> None:
        async with raw_caller(running.port) as caller:
            for _ in range(3):
                await caller.ask(f"/{SERVICE}/Echo", sent, ends=False)
            await asyncio.sleep(chance.random() * 0.04)

    async with served(MANY, OPTIONS, Echo=unary(slow_echo)) as running:
        for _ in range(3):
            await asyncio.gather(*(vanish(running) for _ in range(30)))
        await becomes(lambda: methods_at_it() == 0)
        assert await running.call("Echo", b"still") == b"still"
        assert await running.stop(5) < 3
