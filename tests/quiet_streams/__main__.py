"""`python -m tests.quiet_streams`: check that quiet streams, and connections that ping, stay open."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import grpc
import typer

from stack.local import Stack
from tests.unit.server.grpc_server.raw_caller import raw_caller
from vyris.client.connection import channel_options
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc

PING_EVERY_S = 20


class Outcome(NamedTuple):
    """The result of one trial."""

    name: str
    lasted_s: float
    ended_by: str
    """Empty: it was still open."""


async def _watch(name: str, target: str, limit_s: float) -> Outcome:
    """Watch a drop that does not change, over a channel that pings every 20 s."""
    began_s = time.monotonic()
    # Without the client's retries, which would hide a closed stream.
    options = [*channel_options(), ("grpc.enable_retries", 0), ("grpc.keepalive_time_ms", PING_EVERY_S * 1000)]
    async with grpc.aio.insecure_channel(target, options) as channel:
        request = mint_pb2.WatchDropRequest(tier="genesis", year="2025")
        stream = mint_pb2_grpc.MintServiceStub(channel).WatchDrop(request)
        ended_by = ""
        try:
            async with asyncio.timeout(limit_s):
                async for _ in stream:
                    pass
                ended_by = "the server, with OK"
        except TimeoutError:
            pass
        except grpc.aio.AioRpcError as error:
            ended_by = f"{error.code().name}: {error.details()}"
        return Outcome(name, time.monotonic() - began_s, ended_by)


async def _ping(name: str, port: int, limit_s: float) -> Outcome:
    """Ping over a connection without calls."""
    began_s = time.monotonic()
    async with raw_caller(port) as caller:
        ended_by = await caller.pings(round(limit_s / PING_EVERY_S), PING_EVERY_S)
    return Outcome(name, time.monotonic() - began_s, ended_by)


async def _try_all(stack: Stack, limit_s: float) -> list[Outcome]:
    mint_port = int(stack.target("mint").rpartition(":")[2])
    return await asyncio.gather(
        _watch("WatchDrop through the gateway", stack.gateway_grpc_target, limit_s),
        _watch("WatchDrop at mint itself", stack.target("mint"), limit_s),
        _ping("pings at mint, no call", mint_port, limit_s),
    )


def main(minutes: Annotated[float, typer.Option(help="How long each has to last.")] = 5.5) -> None:
    """Hold quiet streams and connections open, and exit with 1 if one ended."""
    with (
        tempfile.TemporaryDirectory(prefix="vyris-q-") as folder,
        Stack.isolated(Path(folder) / "state") as stack,
    ):
        outcomes = asyncio.run(_try_all(stack, minutes * 60))
    for outcome in outcomes:
        ended = f"ended by {outcome.ended_by}" if outcome.ended_by else "still open"
        typer.echo(f"{outcome.name}: {ended} after {outcome.lasted_s:.0f} s")
    raise typer.Exit(any(outcome.ended_by for outcome in outcomes))


if __name__ == "__main__":
    typer.run(main)
