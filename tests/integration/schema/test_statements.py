"""The schema accepts every statement of a `queries.sql`, and the code runs exactly those statements."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from services.data.storage.queries import Queries

REPOSITORY = Path(__file__).resolve().parents[3]
FOLDERS = ("admin", "cli", "deploy", "gateway", "services", "stack")
FILES = sorted(path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("queries.sql"))
NAMES = [str(file.relative_to(REPOSITORY)) for file in FILES]
LOADED = re.compile(r"^(_?QUERIES)\b.*= Queries\.beside\(__file__\)$", re.MULTILINE)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


def names_in(tree: ast.Module, loader: str | None) -> set[str]:
    """The module's names for the statements that it loads, or imports from `loader`."""
    if loader is None:
        return {"QUERIES", "_QUERIES"}
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == loader]
    return {alias.asname or alias.name for node in imports for alias in node.names if alias.name == "QUERIES"}


def run_in(tree: ast.Module, names: set[str]) -> Iterator[str]:
    """The statements that a module runs: `QUERIES["name"]`, or any text of the module if the name is a variable."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in names:
            if isinstance(node.slice, ast.Constant):
                yield str(node.slice.value)
            else:
                yield "?"
                yield from (text.value for text in ast.walk(tree) if isinstance(text, ast.Constant)
                            and isinstance(text.value, str))  # fmt: skip


def run_from(file: Path) -> tuple[set[str], bool]:
    """The statements of one file that the code runs, and whether it names some by a variable."""
    (loader,) = [path for path in file.parent.glob("*.py") if LOADED.search(path.read_text(encoding="utf-8"))]
    found: set[str] = set()
    for folder in FOLDERS:
        for path in (REPOSITORY / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            if "QUERIES" in text:
                tree = ast.parse(text)
                found |= set(run_in(tree, names_in(tree, None if path == loader else module_name(loader))))
    return found - {"?"}, "?" in found


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_every_statement_is_run_and_every_one_that_is_run_exists(file: Path) -> None:
    defined = set(Queries(file)._statements)
    run, by_variable = run_from(file)
    assert defined
    assert defined - run == set(), "no code runs them: delete them"
    assert by_variable or run - defined == set(), "they are in no queries.sql"


@pytest.mark.parametrize("file", FILES, ids=NAMES)
async def test_every_statement_fits_the_schema(file: Path, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        for name, statement in Queries(file)._statements.items():
            try:
                await connection.prepare(statement)
            except asyncpg.PostgresError as failure:
                pytest.fail(f"{name}: {failure}")
    finally:
        await connection.close()
