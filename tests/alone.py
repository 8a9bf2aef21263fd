"""Turns for tests in several processes: while a test marked `alone` runs, no other test runs.

All tests share the machine. A test that is to be alone gives its share up after its set-up, which may take long and
needs no quiet. Then it takes its turn before it waits, so that no other test begins before it; otherwise the other
workers would start one test after the other.
"""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Machine:
    """What the workers of one run share, held for a test."""

    def __init__(self, run: str, machine: int) -> None:
        self._run = run
        self._machine = machine

    def share(self) -> None:
        """Wait for those who are alone or were to be alone before us."""
        self._take(fcntl.LOCK_SH)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have the machine for the block; it is shared before and afterwards."""
        # Who keeps a share while waiting for a turn would keep out the one who has it.
        fcntl.flock(self._machine, fcntl.LOCK_UN)
        self._take(fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._machine, fcntl.LOCK_SH)

    def _take(self, how: int) -> None:
        with _lock(f"{self._run}.turn") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            fcntl.flock(self._machine, how)


@contextmanager
def shared_machine(run: str) -> Iterator[Machine]:
    """Hold a share of the machine during a test; `run` names the run whose workers share it."""
    with _lock(f"{run}.machine") as file:
        machine = Machine(run, file)
        machine.share()
        yield machine


@contextmanager
def _lock(name: str) -> Iterator[int]:
    with (Path(tempfile.gettempdir()) / f"vyris-tests-{name}.lock").open("w") as file:
        yield file.fileno()
