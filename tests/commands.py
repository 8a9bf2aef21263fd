"""Commands of `vyris` in the process of the tests: an interpreter of its own spends two seconds on imports."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from typer.testing import CliRunner

from cli.main import app


def run_vyris(environment: Mapping[str, str], *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command with these settings. What a process would end with as a traceback is raised."""
    # In a thread without an event loop, because commands run one.
    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(CliRunner().invoke, app, arguments, input=stdin, env=environment).result()
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)
