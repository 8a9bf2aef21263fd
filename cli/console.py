"""How commands speak: tables for people, JSON for programs, one sentence for what went wrong."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import wraps
from typing import Annotated, Any, NoReturn, ParamSpec
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from services.runtime.times import rfc3339

P = ParamSpec("P")
PIPED_WIDTH = 200

# What is piped is not cut to the width of a terminal that is not there.
out = Console(soft_wrap=True, width=None if sys.stdout.isatty() else PIPED_WIDTH)
err = Console(stderr=True, soft_wrap=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def fail(sentence: str) -> NoReturn:
    """End the command with a sentence that says what is wrong and what to do, and exit status 1."""
    err.print(sentence, style="red", markup=False, highlight=False)
    raise typer.Exit(1)


def _needs_words(reason: str) -> str:
    if not reason.strip():
        raise typer.BadParameter("say why: it is kept in the audit log.")
    return reason


Reason = Annotated[str, typer.Option(callback=_needs_words, help="Why, and how you know; kept in the audit log.")]


def show(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, empty: str) -> None:
    """Print rows as a table of `columns`, or as a JSON array with every field."""
    if as_json:
        out.print_json(json.dumps([dict(row) for row in rows], default=_text))
        return
    if not rows:
        err.print(empty, markup=False)
        return
    table = Table(*columns, box=None, header_style="bold")
    for row in rows:
        table.add_row(*(_text(row[column]) for column in columns))
    out.print(table)


def show_one(row: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one thing, a line a field, or as a JSON object."""
    if as_json:
        out.print_json(json.dumps(dict(row), default=_text))
        return
    table = Table(show_header=False, box=None)
    for field, value in row.items():
        table.add_row(field, _text(value))
    out.print(table)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return rfc3339(value)
    return str(value) if isinstance(value, str | int | float | bool | UUID) else repr(value)


def run_async(command: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """A coroutine as a command: typer knows functions alone."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def go() -> None:
            await command(*args, **kwargs)

        asyncio.run(go())

    return run
