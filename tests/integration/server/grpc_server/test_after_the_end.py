"""A context that is still referenced when its call, the server, or the completion queue has ended.

In a process of its own: gRPC core ends the process that asks something of a queue that is closed.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, sys
import grpc
from services.server.grpc_server import server
from tests.unit.server.grpc_server.served import Chosen, both_streams, served

Chosen.kind = sys.argv[3]

async def main():
    held = []
    enough = asyncio.Event()
    server.ABANDONED_AFTER_S = 0.1

    async def method(requests, rpc):
        held.extend((rpc, requests))
        yield b"one"
        while not enough.is_set():  # heeds no cancellation
            try:
                await enough.wait()
            except asyncio.CancelledError:
                pass

    async def ask_late():
        rpc, requests = held
        late = {"write": lambda: rpc.write(b"two"), "read": lambda: anext(requests, None),
            "initial_metadata": lambda: rpc.send_initial_metadata((("a", "b"),))}
        try:
            async with asyncio.timeout(5):
                await late[sys.argv[2]]()
        except (grpc.aio.UsageError, asyncio.CancelledError):
            pass

    async with served(Method=both_streams(method)) as running:
        call = running.talk("Method")
        assert await call.read() == b"one"
        if sys.argv[1] != "closed":
            enough.set()
            await call.done_writing()
            assert await call.code() == grpc.StatusCode.OK
            if sys.argv[1] == "stopped":
                await running.stop(0)
            await ask_late()
    if sys.argv[1] == "closed":
        await ask_late()
        enough.set()
    print("lives")

asyncio.run(main())
"""


LEFT_BEHIND = """
import asyncio, sys, threading, time
import grpc
from services.server.grpc_server import completions, core_server
from tests.unit.server.grpc_server.served import SERVICE, echo, unary

def ask(port, method):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            channel.unary_unary(f"/{SERVICE}/{method}")(b"x", timeout=0.5)
        except grpc.RpcError:
            pass

async def main():
    completions.END_LIMIT_S = 0.5
    with completions.Completions(asyncio.get_running_loop()) as running:
        left = core_server.CoreServer(running, options=[], calls_limit=1)
        left.add_registered_method_handlers(SERVICE, {"Echo": unary(echo)})
        port = left.add_insecure_port("127.0.0.1:0")
        await left.start()
        asking = threading.Thread(target=ask, args=(port, sys.argv[1]))
        asking.start()
        time.sleep(0.2)  # the call is there, and the loop has not looked
    asking.join()

asyncio.run(main())
print("lives")
"""


def ran(*program: str) -> tuple[int, str, str]:
    command = [sys.executable, "-c", *program]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("grpc_server", ["core", "aio"])
@pytest.mark.parametrize("when", ["ended", "stopped", "closed"])
@pytest.mark.parametrize("late", ["write", "read", "initial_metadata"])
def test_what_a_method_left_behind_asks_too_late_does_not_end_the_process(
    when: str, late: str, grpc_server: str
) -> None:
    status, said, complained = ran(PROGRAM, when, late, grpc_server)
    assert status == 0, complained
    assert "lives\n" in said


@pytest.mark.parametrize("method", ["Echo", "Unknown"])
def test_a_call_that_nobody_looked_at_when_the_queue_ends_does_not_end_the_process(method: str) -> None:
    status, said, complained = ran(LEFT_BEHIND, method)
    assert status == 0, complained
    assert "failed" not in said
    assert "lives\n" in said
