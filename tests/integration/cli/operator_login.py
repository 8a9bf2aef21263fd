"""An operator's login, and many commands of `vyris` in one process."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from typer.testing import CliRunner

from cli.main import app
from tests.forked import Forked


@dataclass(frozen=True)
class Done:
    """The result of a command."""

    status: int
    output: str
    exception: str


def vyris(commands: Sequence[Sequence[str]], environment: Mapping[str, str]) -> list[Done]:
    """Run commands one after the other, with exactly this environment."""
    with tempfile.TemporaryDirectory(prefix="vyris-commands-") as name:
        folder = Path(name)
        log, results = folder / "log.txt", folder / "results.json"
        process = Forked(
            _run_commands,
            [list(command) for command in commands],
            results,
            environment={"PATH": os.environ["PATH"], **environment},
            folder=folder,
            log=log,
        )
        try:
            assert process.wait(120) == 0, log.read_text(encoding="utf-8")
        finally:
            process.kill()
        return [Done(*result) for result in json.loads(results.read_text(encoding="utf-8"))]


def _run_commands(commands: list[list[str]], results: Path) -> None:
    done = []
    for arguments in commands:
        result = CliRunner().invoke(app, arguments)
        done.append([result.exit_code, result.output, repr(result.exception)])
    results.write_text(json.dumps(done), encoding="utf-8")


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
