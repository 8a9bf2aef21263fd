"""Turns for tests in several processes: a test marked `alone` waits until no other test runs.

Other tests share the machine. Each takes its turn first, so that a waiting `alone` test is the next one; otherwise the
other workers would start one test after the other before it.
"""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn(run: str, *, alone: bool) -> Iterator[None]:
    """Hold the machine during a test; `run` names the run whose workers share it."""
    with _lock(f"{run}.machine") as machine:
        with _lock(f"{run}.turn") as queue:
            fcntl.flock(queue, fcntl.LOCK_EX)
            fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@contextmanager
def _lock(name: str) -> Iterator[int]:
    with (Path(tempfile.gettempdir()) / f"vyris-tests-{name}.lock").open("w") as file:
        yield file.fileno()
