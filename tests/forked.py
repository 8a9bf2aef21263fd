"""Processes for tests, forked from one that has imported all services and commands: an import takes seconds of CPU.

Each runs what `python -m services.<name>` or `vyris …` runs, with exactly the environment that it is given. The
processes of a local stack (`stack.local`), and so those of most acceptance tests, are interpreters of their own.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli.main import COMMANDS, GROUPS
from stack.probes import serves_grpc
from suite import NAMES

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [*(f"services.{name}.__main__" for name in NAMES), *GROUPS.values(), *COMMANDS.values(), "typer.testing"]
)


class Forked:
    """A process. It ends with the tests at the latest."""

    def __init__(
        self, run: Callable[..., None], *arguments: object, environment: Mapping[str, str], folder: Path, log: Path
    ) -> None:
        """Start `run(*arguments)` in `folder`; its output is added to `log`."""
        become = (run, arguments, dict(environment), folder, log)
        self._process = _CONTEXT.Process(target=_become, args=become, daemon=True)
        self._process.start()

    def poll(self) -> int | None:
        """The exit status, negative for a signal, or None while it runs."""
        return self._process.exitcode

    def wait(self, limit_s: float) -> int:
        """Wait for its end; return the exit status. Raises TimeoutError."""
        self._process.join(limit_s)
        status = self.poll()
        if status is None:
            raise TimeoutError(f"a process did not end within {limit_s:.0f} s")
        return status

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it and wait for its end."""
        self._send(signal.SIGKILL)
        self._process.join()

    def stop(self, limit_s: float = 15) -> None:
        """Let it end, or kill it after `limit_s`."""
        self.terminate()
        self._process.join(limit_s)
        self.kill()

    def _send(self, number: signal.Signals) -> None:
        if self.poll() is None and self._process.pid is not None:
            os.kill(self._process.pid, number)


def fork_service(service: str, environment: Mapping[str, str], *, folder: Path, log: Path) -> Forked:
    """Start a service in `folder`; its output is added to `log`."""
    return Forked(_run_service, service, environment=environment, folder=folder, log=log)


def wait_until_it_serves(full_name: str, port: int, limit_s: float = 20) -> None:
    """Wait until health says that a service serves. Raises TimeoutError.

    A channel that connects too early waits for up to five seconds before it tries again, so each look has its own.
    """
    until_s = time.monotonic() + limit_s
    while not serves_grpc(port, full_name):
        if time.monotonic() > until_s:
            raise TimeoutError(f"{full_name} does not serve on port {port}")
        time.sleep(0.03)


@dataclass(frozen=True)
class Ended:
    """The result of a process."""

    status: int
    output: str


def run_to_end(service: str, environment: Mapping[str, str], *, folder: Path) -> Ended:
    """Run a service that is expected to end by itself. Raises TimeoutError."""
    log = folder / f"{service}-output.txt"
    process = fork_service(service, environment, folder=folder, log=log)
    try:
        return Ended(process.wait(30), log.read_text(encoding="utf-8"))
    finally:
        process.kill()


def _become(
    run: Callable[..., None], arguments: tuple[object, ...], environment: dict[str, str], folder: Path, log: Path
) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1, closefd=False)
    run(*arguments)


def _run_service(service: str) -> None:
    sys.argv = [service]
    # Else runpy warns that the module was imported already.
    sys.modules.pop(f"services.{service}.__main__", None)
    runpy.run_module(f"services.{service}", run_name="__main__", alter_sys=True)
