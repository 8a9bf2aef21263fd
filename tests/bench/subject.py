"""The subject of a measurement: a server that answers POST /mint."""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.usage import Watched

SUITE, BASELINE, CEILING, PLAIN, AIO = "suite", "baseline", "ceiling", "plain", "aio"


@dataclass(frozen=True)
class Subject:
    """One of the things measured side by side."""

    name: str
    url: str
    processes: list[Watched]
    # The database with its ledger; empty if it writes nothing.
    database_url: str = ""
    grpc_target: str = ""
