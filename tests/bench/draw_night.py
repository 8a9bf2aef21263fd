"""A draw's night at its full size: `python -m tests.bench.draw_night`.

100,000 people enter through the gateway, from 64 connections; then the entries close, the root is published, the round
comes, and the offers are made. The load comes out of this process, beside the suite, on the same cores. It prints what
it measured, what is asked, and the CPU time of suite and load, which says more on a shared machine. It exits with 1
where something is missed. The draw is by the development beacon.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import uvloop

from services.draw import maths
from stack.local import Stack
from tests.bench.usage import Watched
from tests.development_draw import announce_draw
from vyris.client import Client

ENTER_WITHIN_S = 60.0
OFFER_WITHIN_S = 10.0
RESULT_WITHIN_S = 0.001
DROP = ("lot", "2027")
CONNECTIONS = 64
ROUND_AFTER_S = 20.0


async def enter_all(url: str, people: int) -> Counter[str]:
    """Send each entry once; how many answers there were by status and error."""
    parts, answers, waiting = urlsplit(url), Counter[str](), iter(range(people))

    async def caller() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        for number in waiting:
            await insist(reader, writer, request(number))
        writer.close()

    async def insist(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes) -> None:
        while True:
            writer.write(sent)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            status = head[9:12].decode()
            answers[status] += 1
            if status not in {"500", "503", "504"}:
                return
            assert b"RETRYABLE" in body, body
            await asyncio.sleep(0.2)

    await asyncio.gather(*(caller() for _ in range(CONNECTIONS)))
    return answers


def request(number: int) -> bytes:
    body = f'{{"user_id":"person-{number}"}}'
    head = f"POST /drops/{DROP[0]}/{DROP[1]}/entries HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n{body}".encode()


async def announce(stack: Stack, capacity: int, open_s: float) -> None:
    """Announce a draw whose entries close so late that all can enter."""
    connection = await asyncpg.connect(stack.database_url)
    await announce_draw(connection, stack, DROP, capacity, open_s=open_s, round_after_s=ROUND_AFTER_S)
    await connection.close()


def wait_for(client: Client, state: str) -> Any:
    while (draw := client.get_draw(*DROP)).state != state:
        time.sleep(0.05)
    return draw


def wait_until(moment: str) -> None:
    time.sleep(max(0.0, datetime.fromisoformat(moment).timestamp() - time.time()))


class Row(NamedTuple):
    """One figure."""

    what: str
    took_s: float
    within_s: float  # what is asked
    cpu_s: float = 0.0  # of the suite and of the load generator


def cpu_s(stack: Stack) -> float:
    """CPU seconds of all processes of the stack and of this one."""
    return time.process_time() + sum(Watched(name, stack.pid(name)).cpu_s() for name in stack.processes)


def measured(people: int, capacity: int) -> Iterator[Row]:
    """Let everybody enter, draw, and measure both."""
    # Twice the time that is asked. On a machine that is busier than that, those who came in time are drawn.
    open_s = 15 + 2 * ENTER_WITHIN_S * people / 100_000
    with (
        tempfile.TemporaryDirectory(prefix="vyris-draw-") as folder,
        Stack.isolated(Path(folder) / "state", replicas={"mint": 2}) as stack,
        Client(stack.gateway_grpc_target) as client,
    ):
        uvloop.run(announce(stack, capacity, open_s))
        began_s, used_s = time.monotonic(), cpu_s(stack)
        answers = uvloop.run(enter_all(stack.gateway_url, people))
        took_s = time.monotonic() - began_s
        what = f"{answers['201']} of {people} entered through the gateway, answers {dict(answers)}"
        yield Row(what, took_s, ENTER_WITHIN_S * people / 100_000, cpu_s(stack) - used_s)
        assert set(answers) <= {"201", "409", "500", "503", "504"}, answers
        yield from close_and_draw(client, answers["201"], capacity)


def close_and_draw(client: Client, entered: int, capacity: int) -> Iterator[Row]:
    entry = client.enter(*DROP, "person-7").entry
    wait_until(client.get_draw(*DROP).document.entries_close)
    began_s = time.monotonic()
    committed = wait_for(client, "COMMITTED").document
    closing_s = time.monotonic() - began_s
    assert committed.entries == entered
    yield Row("from the close to the published root", closing_s, OFFER_WITHIN_S)
    wait_until(committed.beacon.round_at)
    began_s = time.monotonic()
    drawn = wait_for(client, "DRAWN")
    drawing_s = time.monotonic() - began_s
    assert drawn.document.offered_rank == min(capacity, entered)
    yield Row("from the round to all offers", drawing_s, OFFER_WITHIN_S - closing_s)
    began_s = time.perf_counter()
    result = drawn.result(entry)
    yield Row(f"own result ({result}), without a request", time.perf_counter() - began_s, RESULT_WITHIN_S)
    seed = bytes.fromhex(drawn.document.seed)
    own = maths.has_offer(seed, bytes.fromhex(drawn.document.cutoff), bytes.fromhex(entry.leaf_hash))
    assert own == (result == "OFFERED")


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--capacity", type=int, default=999)
    arguments = parser.parse_args()
    missed = 0
    for row in measured(arguments.people, arguments.capacity):
        missed += row.took_s > row.within_s
        figures = row._asdict() | {"took_s": round(row.took_s, 6), "cpu_s": round(row.cpu_s, 1)}
        print(json.dumps(figures), flush=True)
    print(f"on {os.cpu_count()} processors; missed: {missed}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
