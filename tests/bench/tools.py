"""The programs that the benchmark needs besides the suite's own, and how to install a missing one."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

from stack import postgres

BENCH = Path(__file__).resolve().parent
REPOSITORY = BENCH.parents[1]
BASELINE = BENCH / "node" / "baseline"
GO_BASELINE = BENCH / "go"
NATIVE_CALLERS = BENCH / "native_callers"
CROWD = BENCH / "crowd"
INSTALL_LIMIT_S = 300

HOW_TO_GET = {
    "wrk": "install the package `wrk` (Debian, Ubuntu: apt-get install wrk; macOS: brew install wrk)",
    "node": "install Node.js 20 or newer",
    "npm": "install npm, which comes with Node.js",
    "go": "install Go 1.26 or newer",
}


class MissingTool(Exception):
    """The message says what to install."""


def find(tool: str) -> str:
    """Path of a program. Raises MissingTool."""
    found = shutil.which(tool)
    if found is None:
        raise MissingTool(f"{tool} is not installed: {HOW_TO_GET[tool]}.")
    return found


def pgbench() -> str:
    """The pgbench of the embedded Postgres, or else the one on the PATH. Raises MissingTool."""
    own = postgres.binaries() / "pgbench"
    found = str(own) if own.exists() else shutil.which("pgbench")
    if found is None:
        raise MissingTool("pgbench is not installed: install the package `postgresql-contrib`.")
    return found


def install_baseline() -> None:
    """Install the packages of the baseline's lock file, once. Raises MissingTool."""
    find("node")
    lock, installed = BASELINE / "package-lock.json", BASELINE / "node_modules" / ".package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    finished = subprocess.run(
        [find("npm"), "ci", "--no-fund", "--no-audit"],
        cwd=BASELINE,
        capture_output=True,
        text=True,
        check=False,
        timeout=INSTALL_LIMIT_S,
    )
    if finished.returncode != 0:
        raise MissingTool(f"npm could not install the baseline in {BASELINE}: {_last_word(finished)}")


@cache
def build_with_go(folder: Path) -> Path:
    """Build the Go program in a folder, from its lock file; the program. Raises MissingTool."""
    program = folder / "build" / folder.name
    finished = subprocess.run(
        [find("go"), "build", "-o", str(program), "."],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=INSTALL_LIMIT_S,
    )
    if finished.returncode != 0:
        raise MissingTool(f"Go could not build {folder}: {_last_word(finished)}")
    return program


def _last_word(finished: subprocess.CompletedProcess[str]) -> str:
    return (finished.stderr.strip() or "no word").splitlines()[-1]
