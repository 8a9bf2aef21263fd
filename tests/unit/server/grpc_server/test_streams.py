"""Streams of answers, of requests, and both."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import suppress

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from services.server.grpc_server.choice import MakeServer
from services.server.grpc_server.rpc import UNEXPECTED, Rpc
from tests.unit.server.grpc_server.served import (
    Served,
    becomes,
    both_streams,
    client_stream,
    methods_at_it,
    served,
    server_stream,
)

pytestmark = pytest.mark.usefixtures("grpc_server")

LONG = bytes(100_000)


async def test_a_generators_messages_come_in_order() -> None:
    async def count(request: bytes, rpc: Rpc) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield b"%d" % number

    async with served(Count=server_stream(count)) as running:
        assert [message async for message in running.listen("Count", b"500")] == [b"%d" % n for n in range(500)]
        assert [message async for message in running.listen("Count", b"0")] == []


async def test_a_stream_may_begin_with_metadata_and_end_in_an_abort() -> None:
    async def method(request: bytes, rpc: Rpc) -> AsyncIterator[bytes]:
        await rpc.send_initial_metadata((("early", "bird"),))
        yield b"one"
        await rpc.abort(grpc.StatusCode.DATA_LOSS, "torn", (("at", "two"),))

    async with served(Torn=server_stream(method)) as running:
        call = running.listen("Torn")
        assert await call.read() == b"one"
        assert tuple(await call.initial_metadata()) == (("early", "bird"),)
        with pytest.raises(grpc.aio.AioRpcError) as torn:
            await call.read()
        assert (torn.value.code(), torn.value.details()) == (grpc.StatusCode.DATA_LOSS, "torn")
        assert tuple(torn.value.trailing_metadata()) == (("at", "two"),)


async def test_a_stream_that_fails_tells_nothing_of_why() -> None:
    async def method(request: bytes, rpc: Rpc) -> AsyncIterator[bytes]:
        yield b"one"
        raise RuntimeError("a secret of the house")

    async with served(Fail=server_stream(method)) as running:
        call = running.listen("Fail")
        assert await call.read() == b"one"
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call.read()
        assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.UNKNOWN, UNEXPECTED)


async def test_a_caller_who_does_not_read_holds_the_writer_back() -> None:
    written = 0

    async def flood(request: bytes, rpc: Rpc) -> AsyncIterator[bytes]:
        nonlocal written
        while True:
            yield LONG
            written += 1

    async with served(Flood=server_stream(flood)) as running:
        call = running.listen("Flood")
        await call.read()
        await asyncio.sleep(0.3)
        held_at = written
        await asyncio.sleep(0.2)
        assert written == held_at < 200
        for _ in range(held_at):
            await call.read()
        await becomes(lambda: written > held_at)
        call.cancel()


async def test_a_generator_that_waits_is_closed_when_its_caller_hangs_up() -> None:
    closed = asyncio.Event()

    async def wait(request: bytes, rpc: Rpc) -> AsyncIterator[bytes]:
        try:
            yield b"one"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with served(Wait=server_stream(wait)) as running:
        call = running.listen("Wait")
        await call.read()
        call.cancel()
        async with asyncio.timeout(2):
            await closed.wait()


async def test_a_generator_whose_message_is_under_way_is_closed_when_its_caller_hangs_up() -> None:
    closed = asyncio.Event()

    async def flood(request: bytes, rpc: Rpc) -> AsyncIterator[bytes]:
        try:
            while True:
                yield LONG
        finally:
            closed.set()

    async with served(Flood=server_stream(flood)) as running:
        call = running.listen("Flood")
        await call.read()
        await asyncio.sleep(0.2)
        gc.disable()  # which would close it, some day
        try:
            call.cancel()
            async with asyncio.timeout(2):
                await closed.wait()
        finally:
            gc.enable()


async def test_a_method_that_writes_itself_learns_that_its_caller_has_gone() -> None:
    outcome: list[BaseException] = []

    async def method(request: bytes, rpc: Rpc) -> None:
        await rpc.write(b"one")
        try:
            while True:
                await rpc.write(LONG)
        except BaseException as error:
            outcome.append(error)
            raise

    async with served(Write=server_stream(method)) as running:
        call = running.listen("Write")
        assert await call.read() == b"one"
        call.cancel()
        await becomes(lambda: bool(outcome))
        assert isinstance(outcome[0], asyncio.CancelledError)
        await becomes(lambda: methods_at_it() == 0)


async def test_a_write_after_the_caller_has_gone_does_not_hang() -> None:
    outcome: list[BaseException | None] = []
    is_written = asyncio.Event()

    async def method(request: bytes, rpc: Rpc) -> None:
        await rpc.write(b"one")
        try:
            is_written.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                await rpc.write(b"last words")
                outcome.append(None)
            except asyncio.CancelledError as error:
                outcome.append(error)

    async with served(Write=server_stream(method)) as running:
        call = running.listen("Write")
        await call.read()
        # The caller may have the message before the method knows that it is written.
        await is_written.wait()
        call.cancel()
        await becomes(lambda: bool(outcome))
        assert isinstance(outcome[0], asyncio.CancelledError)


async def test_several_writes_at_once_do_not_leave_the_caller_waiting() -> None:
    long = bytes(3_000_000)  # more than goes out at once

    async def method(request: bytes, rpc: Rpc) -> None:
        await asyncio.gather(*(rpc.write(long) for _ in range(3)), return_exceptions=True)

    async with served(Write=server_stream(method)) as running:
        call = running.listen("Write", timeout=2)
        assert await call.read() == long
        while not call.done():
            with suppress(grpc.aio.AioRpcError):
                await call.read()
        assert await call.code() == grpc.StatusCode.OK


async def test_health_tells_every_change_to_who_watches(make_server: MakeServer) -> None:
    health = HealthServicer()
    server = make_server(options=[], calls_limit=10)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    response = health_pb2.HealthCheckResponse
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="a"), timeout=10)
        assert (await watch.read()).status == response.SERVICE_UNKNOWN
        await health.set("a", response.SERVING)
        assert (await watch.read()).status == response.SERVING
        await health.set("a", response.NOT_SERVING)
        assert (await watch.read()).status == response.NOT_SERVING
        assert (await stub.Check(health_pb2.HealthCheckRequest(service="a"))).status == response.NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await stub.Check(health_pb2.HealthCheckRequest(service="b"))
        assert unknown.value.code() == grpc.StatusCode.NOT_FOUND
        watch.cancel()
        await becomes(lambda: not health._server_watchers)
    await server.stop(0)


async def test_reflection_answers_several_requests_on_one_stream(make_server: MakeServer) -> None:
    server = make_server(options=[], calls_limit=10)
    servicer = reflection.aio.ReflectionServicer(["grpc.health.v1.Health"])
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(timeout=10)
        request = reflection_pb2.ServerReflectionRequest
        await call.write(request(list_services=""))
        listed = await call.read()
        assert [service.name for service in listed.list_services_response.service] == ["grpc.health.v1.Health"]
        await call.write(request(file_containing_symbol="grpc.health.v1.Health"))
        assert len((await call.read()).file_descriptor_response.file_descriptor_proto) > 0
        await call.write(request(file_containing_symbol="no.such.Thing"))
        assert (await call.read()).error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
        await call.done_writing()
        assert await call.read() == grpc.aio.EOF
        assert await call.code() == grpc.StatusCode.OK
    await server.stop(0)


async def echo_all(requests: AsyncIterator[bytes], rpc: Rpc) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def heard(running: Served, messages: int) -> list[bytes]:
    call = running.talk("Echo")
    answers = []
    for number in range(messages):
        await call.write(b"%d" % number)
        answers.append(await call.read())
    await call.done_writing()
    assert await call.read() == grpc.aio.EOF
    return answers


async def test_many_conversations_at_once_do_not_mix() -> None:
    async with served(Echo=both_streams(echo_all)) as running:
        for answers in await asyncio.gather(*(heard(running, 20) for _ in range(20))):
            assert answers == [b"%d" % number for number in range(20)]


async def test_a_conversation_ends_with_its_caller() -> None:
    async with served(Echo=both_streams(echo_all)) as running:
        call = running.talk("Echo")
        await call.write(b"one")
        assert await call.read() == b"one"
        assert methods_at_it() == 1
        call.cancel()
        await becomes(lambda: methods_at_it() == 0)


async def test_a_stream_of_requests_is_answered_once() -> None:
    async def joined(requests: AsyncIterator[bytes], rpc: Rpc) -> bytes:
        return b"".join([request async for request in requests])

    async with served(Join=client_stream(joined)) as running:
        call = running.channel.stream_unary("/test.Service/Join")(iter([b"a", b"b", b"c"]), timeout=10)
        assert await call == b"abc"
        assert await running.channel.stream_unary("/test.Service/Join")(iter([]), timeout=10) == b""


async def test_a_method_need_not_hear_all_requests() -> None:
    async def first(requests: AsyncIterator[bytes], rpc: Rpc) -> bytes:
        async for request in requests:
            return request
        return b"none"

    async with served(First=client_stream(first)) as running:
        call = running.channel.stream_unary("/test.Service/First")(timeout=10)
        await call.write(b"one")
        assert await call == b"one"
        await becomes(lambda: methods_at_it() == 0)
