"""What is measured: something that answers POST /mint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.bench.usage import Watched

SUITE, BASELINE, CEILING, PLAIN = "suite", "baseline", "ceiling", "plain"


@dataclass(frozen=True)
class Subject:
    """One of the things measured side by side."""

    name: str
    url: str
    processes: list[Watched]
    # Database in which its ledger is; empty where nothing is written.
    database_url: str = ""
    # Ledger queries of this subject, by what they answer.
    queries: Mapping[str, str] = field(default_factory=dict)
    grpc_target: str = ""
