"""Loads: what is sent, and with which generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tests.bench import native, wrk
from tests.bench.drops import YEAR
from tests.bench.load_result import LoadResult
from tests.bench.subject import Subject

# Workloads that are compared with each other.
NATIVE, BESIDE_NATIVE = "mint, native gRPC", "mint, JSON beside native"
POLL, PAGE = "poll", "static page"
SOLD_OUT = "sold out"

During = Callable[[], None] | None


class Load(Protocol):
    """Something that can be sent to a subject."""

    @property
    def workload(self) -> str:
        """Name of what is measured with it."""

    def send(self, subject: Subject, *, connections: int, seconds: float, during: During) -> LoadResult:
        """Send for so long; `during` is called half way, beside the load."""


@dataclass(frozen=True)
class JsonLoad:
    """A wrk script with its arguments."""

    workload: str
    script: str
    arguments: list[str] = field(default_factory=list)

    def send(self, subject: Subject, *, connections: int, seconds: float, during: During) -> LoadResult:
        """Send to the JSON door."""
        return wrk.run(
            self.script, subject.url, self.arguments, connections=connections, seconds=seconds, during=during
        )


@dataclass(frozen=True)
class NativeMints:
    """Mints by native gRPC callers."""

    run: str
    tier: str
    workload: str = NATIVE

    def send(self, subject: Subject, *, connections: int, seconds: float, during: During) -> LoadResult:
        """Send to the gRPC door."""
        return native.run(
            self.run, self.tier, YEAR, subject.grpc_target, connections=connections, seconds=seconds, during=during
        )


def mints(run: str, tier: str, workload: str = "mint") -> JsonLoad:
    """POST /mint, every request with a receipt of its own."""
    return JsonLoad(workload, "mint", [run, tier, YEAR])


def replays(seeded_run: str, tier: str, receipts: int) -> JsonLoad:
    """POST /mint with the first `receipts` receipts of an earlier run of `mints`."""
    return JsonLoad("replay", "replay", [seeded_run, tier, YEAR, str(receipts)])


def bodies(workload: str, path: str, file: str) -> JsonLoad:
    """POST the lines of a file."""
    return JsonLoad(workload, "bodies", [path, file])


def drop_day(run: str, tier: str, sold_out_tier: str, seeded_run: str, receipts: int, encounters: str) -> JsonLoad:
    """90 % sold out, 8 % mint, the rest replays and encounters."""
    arguments = [run, tier, YEAR, sold_out_tier, seeded_run, str(receipts)]
    return JsonLoad("drop day", "drop_day", [*arguments, encounters] if encounters else arguments)


def takers(run: str, tier: str) -> JsonLoad:
    """POST /drops/{tier}/{year}/holds, every request with a user of its own."""
    return JsonLoad("take a hold", "holds", [run, tier, YEAR])


def polls(tier: str) -> JsonLoad:
    """GET /drops/{tier}/{year}."""
    return JsonLoad(POLL, "get", [f"/drops/{tier}/{YEAR}"])


def pages(tier: str) -> JsonLoad:
    """GET the drop's page, a static file of the gateway."""
    return JsonLoad(PAGE, "get", [f"/drops/{tier}/{YEAR}/live"])
