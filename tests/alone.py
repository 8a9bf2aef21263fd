"""Turns for tests in several processes: while a test marked `alone` runs, no other test runs.

All tests share the machine. A test that is to be alone gives its share up after its set-up, which may take long and
needs no quiet. Then it takes its turn before it waits, so that no other test begins before it; otherwise the other
workers would start one test after the other.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Machine:
    """What the workers of one run share, held for a test."""

    def __init__(self, folder: Path, machine: int) -> None:
        self._folder = folder
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
        with _lock(self._folder / "turn.lock") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            fcntl.flock(self._machine, how)


@contextmanager
def shared_machine(folder: Path) -> Iterator[Machine]:
    """Hold a share of the machine during a test. `folder` is that of all workers of a run; the locks are in it."""
    with _lock(folder / "machine.lock") as file:
        machine = Machine(folder, file)
        machine.share()
        yield machine


@contextmanager
def _lock(path: Path) -> Iterator[int]:
    with path.open("w") as file:
        yield file.fileno()
