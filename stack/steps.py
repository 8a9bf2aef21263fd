"""One-off commands between the tiers. They run in parallel with a start, which waits for them when it needs them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from stack.refusal import StackRefused


class Step:
    """A Python module that runs to its end: `Step("gateway", "generate", …)`, then `finish()`.

    `purpose`: the beginning of the message for a failure.
    """

    def __init__(
        self, module: str, *arguments: str, purpose: str, environment: Mapping[str, str], directory: Path
    ) -> None:
        self._purpose = purpose
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=dict(environment),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, limit_s: float) -> str:
        """Wait for the end. Return the last line of the output. Raises StackRefused with that line if it failed."""
        try:
            output, _ = self._process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired as failure:
            self.abandon()
            raise StackRefused(f"{self._purpose} did not end within {limit_s:.0f} s.") from failure
        last = (output.strip() or f"it ended with status {self._process.returncode}").splitlines()[-1]
        if self._process.returncode != 0:
            raise StackRefused(f"{self._purpose} failed: {last}")
        return last

    def abandon(self) -> None:
        """End the command if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
