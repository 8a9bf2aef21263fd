"""The programs that measuring needs besides the suite's own, and what to install where one is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from stack import postgres

BENCH = Path(__file__).resolve().parent
REPOSITORY = BENCH.parents[1]
BASELINE = BENCH / "node" / "baseline"
NPM_LIMIT_S = 300

HOW_TO_GET = {
    "wrk": "install the package `wrk` (Debian, Ubuntu: apt-get install wrk; macOS: brew install wrk)",
    "node": "install Node.js 20 or newer",
    "npm": "install npm, which comes with Node.js",
    "ghz": "go install github.com/bojand/ghz/cmd/ghz@latest",
}


class MissingTool(Exception):
    """The message says what to install."""


def find(tool: str) -> str:
    """Path of a program. Raises MissingTool."""
    candidates = [shutil.which(tool), *(str(folder / tool) for folder in _go_folders())]
    for candidate in candidates:
        if candidate and Path(candidate).exists():
            return candidate
    raise MissingTool(f"{tool} is not installed: {HOW_TO_GET[tool]}.")


def _go_folders() -> list[Path]:
    """Where `go install` puts programs, whether or not the PATH knows."""
    folders = [Path(os.environ["GOBIN"])] if os.environ.get("GOBIN") else []
    return [*folders, Path(os.environ.get("GOPATH") or Path.home() / "go") / "bin"]


def pgbench() -> str:
    """The pgbench that belongs to the embedded Postgres, else the one on the PATH. Raises MissingTool."""
    own = postgres.binaries() / "pgbench"
    found = str(own) if own.exists() else shutil.which("pgbench")
    if found is None:
        raise MissingTool("pgbench is not installed: install the package `postgresql-contrib`.")
    return found


def install_baseline() -> None:
    """Install what the baseline's lock file says, once. Raises MissingTool."""
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
        timeout=NPM_LIMIT_S,
    )
    if finished.returncode != 0:
        last = (finished.stderr.strip() or "no word").splitlines()[-1]
        raise MissingTool(f"npm could not install the baseline in {BASELINE}: {last}")
