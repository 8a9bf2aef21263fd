"""Processes that the benchmark starts besides the stack's, and how they end."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from stack.graph import SYSTEM_VARIABLES
from tests.bench import tools

READY_LIMIT_S = 30
STOP_LIMIT_S = 15
POLL_S = 0.05


def system_environment() -> dict[str, str]:
    """What a process needs of this environment besides its own settings; our code is found wherever it runs."""
    system = {name: os.environ[name] for name in SYSTEM_VARIABLES if name in os.environ}
    return {**system, "PYTHONPATH": str(tools.REPOSITORY), "PYTHONUNBUFFERED": "1"}


@contextmanager
def background(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: str, ready: Callable[[], bool]
) -> Iterator[int]:
    """Run a program in `folder` until the block ends; yields its process id once `ready()`.

    Raises RuntimeError with the end of its log where it does not get ready.
    """
    path = folder / log
    with path.open("wb") as output:
        process = subprocess.Popen(
            arguments, env={**system_environment(), **environment}, cwd=folder, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + READY_LIMIT_S
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{arguments[0]} did not get ready: {path.read_text(errors='replace')[-2000:]}")
            time.sleep(POLL_S)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
