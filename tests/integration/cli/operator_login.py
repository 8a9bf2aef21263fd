"""An operator's login, and many commands of `vyris` in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import asyncpg

# A new interpreter for each command would take a second each.
_RUNNER = """
import json, sys
from typer.testing import CliRunner
from cli.main import app
results = []
for arguments in json.load(sys.stdin):
    result = CliRunner().invoke(app, arguments)
    results.append([result.exit_code, result.output, repr(result.exception)])
print(json.dumps(results))
"""


@dataclass(frozen=True)
class Done:
    """The result of a command."""

    status: int
    output: str
    exception: str


def vyris(commands: Sequence[Sequence[str]], environment: Mapping[str, str]) -> list[Done]:
    """Run commands one after the other, with exactly this environment."""
    ran = subprocess.run(
        [sys.executable, "-c", _RUNNER],
        input=json.dumps([list(command) for command in commands]),
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    return [Done(*result) for result in json.loads(ran.stdout.splitlines()[-1])]


@asynccontextmanager
async def operator_login(database_url: str, name: str) -> AsyncIterator[str]:
    """Create a login in the operators' group; return the database's URL for it."""
    owner = await asyncpg.connect(database_url)
    try:
        await owner.execute(f"CREATE ROLE {name} LOGIN IN ROLE vyris_operator")
        try:
            parts = urlsplit(database_url)
            yield urlunsplit(parts._replace(netloc=f"{name}@{parts.netloc.rpartition('@')[2]}"))
        finally:
            await owner.execute(f"DROP ROLE {name}")
    finally:
        await owner.close()
