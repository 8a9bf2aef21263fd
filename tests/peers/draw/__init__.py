"""A second opinion on draws, in Go. `go mod download` here fetches its modules; `go.sum` pins them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def missing() -> str | None:
    """What keeps the judge from running, as a sentence; None where nothing does."""
    if shutil.which("go") is None:
        return "Go is not installed"
    if _go("list", "-deps", "./...").returncode:
        return "The judge's modules are not there: `make test-peers` fetches them (go mod download in tests/peers/draw)"
    return None


def built(folder: Path) -> Path:
    """The judge as a program in `folder`."""
    program = folder / "draw-judge"
    done = _go("build", "-o", str(program), ".")
    assert done.returncode == 0, done.stderr
    return program


def verdict(program: Path, url: str, *, beacon_key: str = "") -> dict[str, Any]:
    """What the judge says of the draw at `url`."""
    options = ["-beacon-key", beacon_key] if beacon_key else []
    done = subprocess.run([program, *options, url], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _go(*arguments: str) -> subprocess.CompletedProcess[str]:
    # The network is left alone: a test must not wait for it.
    environment = os.environ | {"GOPROXY": "off", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}
    return subprocess.run(
        ["go", *arguments], cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
