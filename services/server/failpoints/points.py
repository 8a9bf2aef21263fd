"""Failpoints: `await reach("mint.granted")` does nothing, unless a file sets a fault for this name.

The file is JSON. It is read again at every point, so that faults can change while a process runs:

    {"mint.granted": {"action": "kill", "share": 0.1}, "recount.read": {"action": "delay", "delay_s": 0.5}}

`share` is the probability, 0 to 1 (default 1). Actions: `kill` (SIGKILL to this process), `raise` (an OSError, as from
a full disk), `delay`. A missing, empty or half-written file means no fault.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import signal
from pathlib import Path
from typing import Any, Final

KILL: Final = "kill"
RAISE: Final = "raise"
DELAY: Final = "delay"
DELAY_LIMIT_S: Final = 30.0

_files: list[Path] = []


class FailpointRaised(OSError):
    """The error that a failpoint raises: no space left on device."""

    def __init__(self, name: str) -> None:
        super().__init__(errno.ENOSPC, f"failpoint {name}")


def switch_on(file: Path | None) -> None:
    """Read faults from `file` from now on. None switches all failpoints off."""
    _files[:] = [file] if file is not None else []


async def reach(name: str) -> None:
    """Pass the point `name`. If its fault is switched on, it raises FailpointRaised, kills the process, or delays."""
    if not _files:
        return
    fault = _faults(_files[0]).get(name)
    if fault is None or random.random() >= fault.get("share", 1.0):  # noqa: S311 - chance, not secrecy
        return
    if fault["action"] == KILL:
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault["action"] == RAISE:
        raise FailpointRaised(name)
    elif fault["action"] == DELAY:
        await asyncio.sleep(min(float(fault["delay_s"]), DELAY_LIMIT_S))


def _faults(file: Path) -> dict[str, Any]:
    try:
        faults = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return faults if isinstance(faults, dict) else {}
