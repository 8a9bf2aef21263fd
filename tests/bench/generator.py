"""Run a load generator, and work beside it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

END_LIMIT_S = 60


@dataclass(frozen=True)
class Finished:
    """How the generator ended, and its output."""

    exit_status: int
    output: str
    errors: str


def run(
    command: list[str],
    *,
    seconds: float,
    during: Callable[[], None] | None,
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """Run `command`, which sends for `seconds`; call `during` half way, beside the load.

    Raises subprocess.TimeoutExpired if it has not ended a minute after that.
    """
    began = time.monotonic()
    process = subprocess.Popen(
        command, env={**os.environ, **(environment or {})}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        if during is not None:
            time.sleep(max(0.0, began + seconds / 2 - time.monotonic()))
            during()
        output, errors = process.communicate(timeout=seconds + END_LIMIT_S)
    finally:
        process.kill()
    return Finished(process.returncode, output, errors.strip())
