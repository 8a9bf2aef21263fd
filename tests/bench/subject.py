"""What is measured: something that answers POST /mint."""

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
    # Database in which its ledger is; empty where nothing is written.
    database_url: str = ""
    grpc_target: str = ""
