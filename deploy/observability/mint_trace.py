"""`python -m deploy.observability.mint_trace`: one mint of a local stack, traced from the gateway to its commit.

Starts a stack of its own with a collector, sends a few receipts at once, and prints one of them as a waterfall.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import httpx

from deploy.observability.collector import Collector, Kept, collecting
from stack.local import Stack

WARM_UP: Final = 60
AT_ONCE: Final = 6
BAR: Final = 40
# Spans of the warm-up have arrived by then.
SETTLE_S: Final = 2.0
ARRIVAL_LIMIT_S: Final = 30.0


def traced_mint() -> list[Kept]:
    """The spans of one mint: its own trace, then the batch that links it."""
    with collecting() as (collector, address), tempfile.TemporaryDirectory(prefix="vyris-trace-") as folder:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        with Stack.isolated(Path(folder) / "state", environment=environment) as stack:
            with httpx.Client(base_url=stack.gateway_url, timeout=30, trust_env=False) as client:
                # What a process does for the first time takes longer: connections, prepared statements.
                _mint_all(client, [f"warm-up {number}" for number in range(WARM_UP)])
                time.sleep(SETTLE_S)
                seen = len(collector.kept)
                _mint_all(client, [f"receipt {number}" for number in range(AT_ONCE)])
            return _whole_trace(collector, seen)


def _mint_all(client: httpx.Client, receipts: list[str]) -> None:
    def mint(receipt: str) -> None:
        client.post("/mint", json={"receipt_data": receipt, "user_id": "ada"}).raise_for_status()

    with ThreadPoolExecutor(AT_ONCE) as senders:
        list(senders.map(mint, receipts))


def _whole_trace(collector: Collector, seen: int) -> list[Kept]:
    """The newest complete trace whose batch works for the most calls. Raises TimeoutError."""
    until_s = time.monotonic() + ARRIVAL_LIMIT_S
    while time.monotonic() < until_s:
        time.sleep(1)
        found = list(_complete(collector.kept[seen:]))
        if sum(len(one.span.links) for one in collector.kept[seen:] if one.span.name == "batch") >= AT_ONCE and found:
            return max(found, key=lambda spans: max(len(one.span.links) for one in spans))
    raise TimeoutError("no whole trace arrived")


def _complete(kept: list[Kept]) -> Iterator[list[Kept]]:
    by_id = {one.span.span_id: one for one in kept}
    for batch in (one for one in kept if one.span.name == "batch"):
        steps = [one for one in kept if one.span.parent_span_id == batch.span.span_id]
        for link in batch.span.links:
            call = by_id.get(link.span_id)
            own = [one for one in kept if call is not None and one.trace_id == call.trace_id]
            if any(one.process == "vyris-gateway" for one in own):
                yield [*sorted(own, key=_start), batch, *sorted(steps, key=_start)]
                break


def _start(one: Kept) -> int:
    return one.span.start_time_unix_nano


def waterfall(spans: list[Kept]) -> str:
    """Spans as text: who, what, when it began, how long it took, and the same as a bar."""
    began_ns, ended_ns = min(map(_start, spans)), max(one.span.end_time_unix_nano for one in spans)
    scale = BAR / (ended_ns - began_ns)
    lines = [f"trace {spans[0].trace_id}", ""]
    for one in spans:
        if one.span.name == "batch":
            calls = len(one.span.links)
            lines += ["", f"trace {one.trace_id}, linked: a batch that works for {calls} call{'s' * (calls > 1)}", ""]
        offset_ns, took_ns = _start(one) - began_ns, one.span.end_time_unix_nano - _start(one)
        left = min(round(offset_ns * scale), BAR - 1)
        bar = " " * left + "▇" * max(1, min(round(took_ns * scale), BAR - left))
        name = "  " * _depth(one, spans) + _title(one)
        lines.append(
            f"{one.process.removeprefix('vyris-'):8} {name:44} {offset_ns / 1e6:6.2f} +{took_ns / 1e6:6.2f} ms  {bar}"
        )
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _title(one: Kept) -> str:
    asked = one.attribute("db.query.summary")
    return f"{one.span.name} {asked}" if asked else one.span.name


def _depth(one: Kept, spans: list[Kept]) -> int:
    parent = next((other for other in spans if other.span.span_id == one.span.parent_span_id), None)
    return 0 if parent is None else 1 + _depth(parent, spans)


if __name__ == "__main__":
    sys.stdout.write(waterfall(traced_mint()))
