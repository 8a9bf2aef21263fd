"""The subject of a measurement: a server that answers POST /mint."""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.usage import Watched

# The baseline is the Node service: the targets compare with it. The Go service is beside it for an honest look.
SUITE, BASELINE, GO, CEILING, PLAIN, AIO = "suite", "node", "go", "ceiling", "plain", "aio"
# A second stack of the same checkout: what it differs from the suite by is the measurement's own error.
COPY = "copy"


@dataclass(frozen=True)
class Subject:
    """One of the things measured side by side."""

    name: str
    url: str
    processes: list[Watched]
    # The database with its ledger; empty if it writes nothing.
    database_url: str = ""
    grpc_target: str = ""
