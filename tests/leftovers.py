"""The processes that belong to a state folder."""

from __future__ import annotations

import time
from pathlib import Path

import psutil


def processes_of(state_folder: Path) -> list[str]:
    """Command lines of the running processes that name the folder in their arguments or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
            if process.status() != psutil.STATUS_ZOMBIE and any(str(state_folder) in word for word in words):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def wait_until_none_is_left(state_folder: Path, limit_s: float = 10.0) -> list[str]:
    """Wait up to `limit_s` until no process of the folder runs; return those that still do."""
    deadline = time.monotonic() + limit_s
    while (left := processes_of(state_folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left
