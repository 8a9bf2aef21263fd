"""Native gRPC callers: the program in `native_callers`, with a file of distinct requests."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator

from google.protobuf import proto

from tests.bench import generator, tools
from tests.bench.load_result import LoadResult
from vyris.mint.v1 import mint_pb2

METHOD = "/vyris.mint.v1.MintService/Mint"
# More than any machine of today sends; what is not sent costs little.
REQUESTS_A_SECOND = 8_000
CALLERS_A_CONNECTION = 64
# It shares the cores with what is measured: one of them, as wrk with its one thread; its memory is tidied up rarely.
SPARING = {"GOMAXPROCS": "1", "GOGC": "1000"}


def run(
    run_name: str,
    tier: str,
    year: str,
    target: str,
    *,
    connections: int,
    seconds: float,
    during: Callable[[], None] | None = None,
) -> LoadResult:
    """Mint with `connections` callers at once for `seconds`, 64 of them on one connection: a program has one channel.

    Raises MissingTool; RuntimeError where the callers report nothing.
    """
    program = tools.build_with_go(tools.NATIVE_CALLERS)
    with tempfile.NamedTemporaryFile(prefix="vyris-requests-", suffix=".binpb") as requests:
        for request in _requests(run_name, tier, year, int(seconds * REQUESTS_A_SECOND)):
            proto.serialize_length_prefixed(request, requests)
        requests.flush()
        command = [
            str(program),
            "-target", target,
            "-method", METHOD,
            "-requests", requests.name,
            "-callers", str(connections),
            "-connections", str(max(1, connections // CALLERS_A_CONNECTION)),
            "-duration", f"{seconds}s",
        ]  # fmt: skip
        finished = generator.run(command, seconds=seconds, during=during, environment=SPARING)
    if finished.exit_status != 0:
        raise RuntimeError(f"the native callers reported nothing: {finished.errors}")
    return LoadResult(**json.loads(finished.output))


def _requests(run_name: str, tier: str, year: str, count: int) -> Iterator[mint_pb2.MintRequest]:
    """The same receipts as `lua/mint.lua` makes, of the same length."""
    tail = "0123456789abcdefghijklmnopqrstuvwxyz"
    for number in range(count):
        yield mint_pb2.MintRequest(
            receipt_data=f"bench-receipt-{run_name}-01-{number:010}-{tail}",
            user_id=f"user-{run_name}-01-{number:010}",
            tier=tier,
            year=year,
        )
