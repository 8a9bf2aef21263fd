"""The output of commands: tables for people, JSON for programs, one sentence for an error."""

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
from rich.text import Text

from services.server.runtime.times import rfc3339
from stack.printable import printable

P = ParamSpec("P")
PIPED_WIDTH = 200


class PlainConsole(Console):
    """A console for untrusted text: no markup, no emoji codes, no control characters.

    Rich reads `[web]1001` as a style and its text, `:x:` as a picture, and prints escape sequences. So every printed
    string passes here, also cells of tables.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """Render `text` literally. Of rich's `options`, only those for its placement are used."""
        placing = {name: options[name] for name in ("style", "justify", "overflow") if options.get(name)}
        return Text(printable(text, keeps_lines=True), **placing)


# Piped output is not cut to a terminal's width.
out = PlainConsole(soft_wrap=True, width=None if sys.stdout.isatty() else PIPED_WIDTH)
err = PlainConsole(stderr=True, soft_wrap=True)

RowsLimit = Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="The most rows to show.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def fail(sentence: str) -> NoReturn:
    """End the command with a sentence that says what is wrong and what to do, and exit status 1."""
    err.print(sentence, style="red")
    raise typer.Exit(1)


def _needs_words(reason: str) -> str:
    if not reason.strip():
        raise typer.BadParameter("say why: it is written to the audit log.")
    return reason


Reason = Annotated[str, typer.Option(callback=_needs_words, help="Why, and how you know; written to the audit log.")]


def show(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, empty: str) -> None:
    """Print rows as a table of `columns`, or as a JSON array with every field."""
    if as_json:
        _print_json([dict(row) for row in rows])
        return
    if not rows:
        err.print(empty)
        return
    table = Table(*columns, box=None, header_style="bold")
    for row in rows:
        table.add_row(*(printable(_text(row[column])) for column in columns))
    out.print(table)


def tell_if_cut(rows: Sequence[Any], limit: int) -> None:
    """Say that there may be more rows than the `limit` that were asked for."""
    if len(rows) >= limit:
        err.print(f"These are the first {limit}; there may be more (--limit).", highlight=False)


def show_one(row: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one object, one line for each field, or as a JSON object."""
    if as_json:
        _print_json(dict(row))
        return
    table = Table(show_header=False, box=None)
    for field, value in row.items():
        table.add_row(printable(field), printable(_text(value)))
    out.print(table)


def _print_json(value: object) -> None:
    out.print_json(json.dumps(value, default=_text), ensure_ascii=True)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return rfc3339(value)
    return str(value) if isinstance(value, str | int | float | bool | UUID) else repr(value)


def run_async(command: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Turn a coroutine into a command, because typer supports only functions."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def go() -> None:
            await command(*args, **kwargs)

        asyncio.run(go())

    return run
