"""A context that somebody still holds when its call, or the server, has ended.

In a process of its own: gRPC core ends the process that asks something of a server's queue that is closed.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, sys
import grpc
from tests.unit.grpc_server.served import both_streams, served

async def main():
    held = []

    async def method(requests, rpc):
        held.extend((rpc, requests))
        yield b"one"

    async with served(Method=both_streams(method)) as running:
        call = running.talk("Method")
        assert await call.read() == b"one"
        await call.done_writing()
        assert await call.code() == grpc.StatusCode.OK
        if sys.argv[1] == "stopped":
            await running.stop(0)
        rpc, requests = held
        late = {"write": lambda: rpc.write(b"two"), "read": lambda: anext(requests, None),
            "initial_metadata": lambda: rpc.send_initial_metadata((("a", "b"),))}
        try:
            async with asyncio.timeout(5):
                await late[sys.argv[2]]()
        except (grpc.aio.UsageError, asyncio.CancelledError):
            pass
    print("lives")

asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["ended", "stopped"])
@pytest.mark.parametrize("late", ["write", "read", "initial_metadata"])
def test_what_a_method_left_behind_asks_too_late_does_not_end_the_process(when: str, late: str) -> None:
    command = [sys.executable, "-c", PROGRAM, when, late]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert (ran.returncode, ran.stdout) == (0, "lives\n"), ran.stderr
