"""Who looks into the completion queue, and what it costs."""

from __future__ import annotations

import asyncio
import threading
import time

import grpc
import pytest

from services.server.grpc_server import core
from services.server.grpc_server.completions import Completions
from services.server.grpc_server.core_server import CoreServer
from tests.unit.server.grpc_server.served import SERVICE, becomes, echo, served, unary


def completed_soon(completions: Completions, tag: core.Tag) -> None:
    """Have gRPC core finish something with this tag: a server without calls stops at once."""
    server = core.Server((), False)
    server.register_completion_queue(completions.queue)
    server.start()

    def stopped(event: core.Event) -> None:
        try:
            tag(event)
        finally:
            server.destroy()

    server.shutdown(completions.queue, stopped)


async def test_tags_are_called_in_the_loops_thread(completions: Completions) -> None:
    threads: list[int] = []
    for _ in range(20):
        completed_soon(completions, lambda _: threads.append(threading.get_ident()))
    await becomes(lambda: len(threads) == 20)
    assert set(threads) == {threading.get_ident()}


async def test_a_tag_that_fails_does_not_hold_up_the_next(completions: Completions) -> None:
    came: list[str] = []

    def fail(_: object) -> None:
        raise RuntimeError("broken")

    completed_soon(completions, fail)
    completed_soon(completions, lambda _: came.append("next"))
    await becomes(lambda: came == ["next"])


async def test_what_is_under_way_at_the_end_is_told() -> None:
    came: list[str] = []
    with Completions(asyncio.get_running_loop()) as completions:
        completed_soon(completions, lambda _: came.append("told"))
    assert came == ["told"]


async def test_the_thread_ends_with_the_block_whoever_looks_just_then() -> None:
    def waiting() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "grpc-completions"]

    for pauses in range(30):
        with Completions(asyncio.get_running_loop()) as completions:
            completed_soon(completions, lambda _: None)
            for _ in range(pauses):
                await asyncio.sleep(0)
            assert waiting()
        assert not waiting()


async def test_a_loop_that_has_nothing_to_do_is_left_alone() -> None:
    async with served(Echo=unary(echo)) as running:
        assert await running.call("Echo", b"x") == b"x"
        await asyncio.sleep(0.05)
        began_s = time.thread_time()
        await asyncio.sleep(0.5)
        assert time.thread_time() - began_s < 0.05
        assert await running.call("Echo", b"still") == b"still"


@pytest.mark.alone
async def test_a_busy_loop_still_has_time_for_its_other_work() -> None:
    async with served(1000, Echo=unary(echo)) as running:
        longest_s, over = 0.0, asyncio.Event()

        async def tick() -> None:
            nonlocal longest_s
            while not over.is_set():
                began_s = time.perf_counter()
                await asyncio.sleep(0)
                longest_s = max(longest_s, time.perf_counter() - began_s)

        ticking = asyncio.create_task(tick())
        for _ in range(5):
            await asyncio.gather(*(running.call("Echo", b"x") for _ in range(200)))
        over.set()
        await ticking
        assert longest_s < 0.5


async def test_servers_that_share_a_queue_stop_apart(completions: Completions) -> None:
    servers, ports = [], []
    for _ in range(2):
        server = CoreServer(completions, options=[], calls_limit=10)
        server.add_registered_method_handlers(SERVICE, {"Echo": unary(echo)})
        ports.append(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        servers.append(server)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ports[1]}") as channel:
        ask = channel.unary_unary(f"/{SERVICE}/Echo")
        assert await ask(b"x", timeout=10) == b"x"
        await servers[0].stop(1)
        assert await ask(b"still", timeout=10) == b"still"
    await servers[1].stop(1)
