"""Native gRPC callers: ghz with a file of distinct requests."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from google.protobuf import proto

from tests.bench import tools
from tests.bench.load_result import LoadResult
from vyris.mint.v1 import mint_pb2

DESCRIPTORS = tools.REPOSITORY / "gateway" / "descriptors.binpb"
# More than any machine of today sends; what is not sent costs little.
REQUESTS_A_SECOND = 8_000
CALLERS_A_CONNECTION = 64
END_LIMIT_S = 60
# It shares the cores with what is measured: requests are made beforehand, and its memory is tidied up rarely.
SPARING = {"GOGC": "1000"}
NANOSECONDS_A_MICROSECOND = 1_000


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

    Raises MissingTool; RuntimeError where ghz reports nothing.
    """
    with tempfile.TemporaryDirectory(prefix="vyris-ghz-") as scratch:
        data, report = Path(scratch) / "requests.binpb", Path(scratch) / "report.json"
        with data.open("wb") as file:
            for request in _requests(run_name, tier, year, int(seconds * REQUESTS_A_SECOND)):
                proto.serialize_length_prefixed(request, file)
        command = [
            tools.find("ghz"),
            "--insecure",
            "--protoset", str(DESCRIPTORS),
            "--call", "vyris.mint.v1.MintService/Mint",
            "--binary-file", str(data),
            "--concurrency", str(connections),
            "--connections", str(max(1, connections // CALLERS_A_CONNECTION)),
            "--duration", f"{seconds:.0f}s",
            "--duration-stop", "wait",
            "--cpus", "1",
            "--format", "json",
            "--output", str(report),
            target,
        ]  # fmt: skip
        began = time.monotonic()
        process = subprocess.Popen(
            command, env=os.environ | SPARING, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            if during is not None:
                time.sleep(max(0.0, began + seconds / 2 - time.monotonic()))
                during()
            said, _ = process.communicate(timeout=seconds + END_LIMIT_S)
        finally:
            process.kill()
        if not report.exists():
            raise RuntimeError(f"ghz reported nothing: {said.strip()}")
        return _result(json.loads(report.read_text(encoding="utf-8")))


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


def _result(report: dict[str, object]) -> LoadResult:
    statuses = dict(report.get("statusCodeDistribution") or {})  # type: ignore[call-overload]
    shares = {row["percentage"]: row["latency"] for row in report.get("latencyDistribution") or []}  # type: ignore[attr-defined]
    count = int(str(report["count"]))

    def microseconds(share: int) -> float:
        return float(shares.get(share, 0)) / NANOSECONDS_A_MICROSECOND

    return LoadResult(
        seconds=float(str(report["total"])) / 1e9,
        answers=count,
        refusals=count - int(statuses.get("OK", 0)),
        broken=int(statuses.get("Unavailable", 0)),
        timeouts=int(statuses.get("DeadlineExceeded", 0)),
        sent=count,
        p50_us=microseconds(50),
        p90_us=microseconds(90),
        p99_us=microseconds(99),
        p999_us=float(str(report["slowest"])) / NANOSECONDS_A_MICROSECOND,
        longest_us=float(str(report["slowest"])) / NANOSECONDS_A_MICROSECOND,
    )
