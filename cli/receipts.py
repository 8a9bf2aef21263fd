"""`vyris receipts`: receipts that got no membership, and their refunds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from admin.reconciliation import reconcile_refunds
from admin.refunds import KEY_BYTES, ROWS_LIMIT, RefundDesk
from cli import backends
from cli.actor import BY_COMMAND, OptionalReason, operator
from cli.console import AsJson, RowsLimit, err, fail, run_async, show, tell_if_cut
from cli.spreadsheet import UnreadableFile, print_csv, read_column
from services.server.runtime.settings import WrongSetting

app = typer.Typer(help="Receipts that got no membership, and their refunds.")

DUE_COLUMNS = ("receipt_key", "state", "reason", "kind", "transaction_id", "user_id", "tier", "year", "created_at")
NOT_RESTORED_COLUMNS = ("membership_id", "tier", "year", "sequence_num", "user_id", "kind", "transaction_id")
KEY_COLUMN = "receipt_key"
# A key's prefix in CSV: without it a spreadsheet reads hex digits such as 12e45 as a number.
KEY_PREFIX = "receipt:"
# The most lines of a file that one message names.
NAMED_LIMIT = 20
RECONCILED_COLUMNS = ("environment", "notifications", "purchases", "refunds", "missed", "outcomes", "unreadable")

AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")]


@app.callback(invoke_without_command=True)
def receipts(
    ctx: typer.Context,
    failed: Annotated[
        bool, typer.Option("--failed", help="List the receipts that got no membership, and why.")
    ] = False,
    limit: RowsLimit = ROWS_LIMIT,
    as_json: AsJson = False,
) -> None:
    """Receipts that got no membership, and their refunds."""
    if ctx.invoked_subcommand is not None:
        return
    if not failed:
        typer.echo(ctx.get_help())
        raise typer.Exit
    _show_failed(limit, as_json)


@run_async
async def _show_failed(limit: int, as_json: bool) -> None:
    async with _desk() as desk:
        rows = await desk.failed(limit)
    show([dict(row) for row in rows], DUE_COLUMNS, as_json=as_json, empty="Every receipt got its membership.")
    tell_if_cut(rows, limit)


@app.command("refunds-due")
@run_async
async def refunds_due(
    as_csv: AsCsv = False,
    export: Annotated[
        bool, typer.Option("--export", help="Mark them REFUND_DUE, so that they never mint, and list the marked ones.")
    ] = False,
    limit: RowsLimit = ROWS_LIMIT,
    as_json: AsJson = False,
    reason: OptionalReason = BY_COMMAND,
) -> None:
    """List paid receipts without a membership. Without --export nothing changes, and exported ones are listed too."""
    async with _desk(reason) as desk:
        rows = await (desk.export(limit) if export else desk.due(limit))
    if as_csv:
        print_csv([{**row, KEY_COLUMN: f"{KEY_PREFIX}{row[KEY_COLUMN]}"} for row in rows], DUE_COLUMNS)
    else:
        show([dict(row) for row in rows], DUE_COLUMNS, as_json=as_json, empty="No refund is due.")
    if export:
        err.print(f"Marked {len(rows)} receipts REFUND_DUE; `vyris receipts refunded` notes what was paid back.")
    tell_if_cut(rows, limit)


@app.command()
@run_async
async def refunded(
    receipt_keys: Annotated[list[str] | None, typer.Argument(help="Keys of exported receipts (64 hex digits).")] = None,
    from_csv: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A file that `refunds-due --export --csv` printed.")
    ] = None,
    reason: OptionalReason = BY_COMMAND,
) -> None:
    """Record that exported receipts are refunded (REFUND_DUE becomes REFUNDED)."""
    named = {text: text for text in receipt_keys or ()}
    if from_csv:
        named |= _keys_in(from_csv)
    if not named:
        fail("Name receipt keys, or a file with --from-csv.")
    keys = _read_keys(named)
    async with _desk(reason) as desk:
        marked = await desk.mark_refunded(list(keys))
        unchanged = {key: where for key, where in keys.items() if key.hex() not in marked}
        states = await desk.states(list(unchanged))
    err.print(f"Marked {len(marked)} receipts REFUNDED.")
    if unchanged:
        unmarked = [f"{where}: {_why_unchanged(states.get(key))}" for key, where in unchanged.items()]
        fail(
            f"{len(unchanged)} receipts were not exported, or are REFUNDED already; they are unchanged.\n"
            f"{_first_lines(unmarked)}"
        )


@app.command("not-restored")
@run_async
async def not_restored(limit: RowsLimit = ROWS_LIMIT, as_json: AsJson = False) -> None:
    """List purchases with a reversed refund but without their number: give each another number, or the money."""
    async with _desk() as desk:
        rows = await desk.not_restored(limit)
    show([dict(row) for row in rows], NOT_RESTORED_COLUMNS, as_json=as_json, empty="There is nobody.")
    tell_if_cut(rows, limit)


@app.command()
@run_async
async def reconcile(
    days: Annotated[
        int, typer.Option(min=1, max=179, help="Days of Apple's notification history to read (Apple keeps 180).")
    ] = 30,
    purchases: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="The most purchases whose refund history is read.")
    ] = ROWS_LIMIT,
    as_json: AsJson = False,
    reason: OptionalReason = BY_COMMAND,
) -> None:
    """Read Apple's history of refunds and apply missed notifications. May be repeated."""
    async with backends.database(patient=True) as database:
        try:
            rows = await reconcile_refunds(database, operator(reason), days=days, purchases=purchases)
        except WrongSetting as problem:
            fail(f"{problem}.")
    empty = "Apple cannot be asked: set APP_STORE_API_KEY, APP_STORE_API_KEY_ID and APP_STORE_API_ISSUER_ID."
    show(rows, RECONCILED_COLUMNS, as_json=as_json, empty=empty)
    for row in rows:
        if row["problem"]:
            fail(f"{row['environment']}: {row['problem']}. What was found before is applied; try again later.")
    if not rows:
        raise typer.Exit(1)


@asynccontextmanager
async def _desk(reason: str = BY_COMMAND) -> AsyncIterator[RefundDesk]:
    async with backends.database(patient=True) as database:
        yield RefundDesk(database, operator(reason))


def _keys_in(file: Path) -> dict[str, str]:
    """The file's keys with their places."""
    try:
        return {f"line {line}": text for line, text in read_column(file, KEY_COLUMN)}
    except UnreadableFile as problem:
        fail(str(problem))


def _read_keys(named: Mapping[str, str]) -> dict[bytes, str]:
    """Parse keys, with their places. If one is unreadable, all are refused."""
    keys: dict[bytes, str] = {}
    unreadable = []
    for where, text in named.items():
        key = _key(text)
        if key is None:
            unreadable.append(f"{where}: {_why_unreadable(text)}")
        else:
            keys.setdefault(key, where)
    if unreadable:
        fail(f"A receipt key is 64 hex digits. Nothing was marked.\n{_first_lines(unreadable)}")
    return keys


def _key(text: str) -> bytes | None:
    digits = text.strip().lower().removeprefix(KEY_PREFIX).strip()
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        return None
    return key if len(key) == KEY_BYTES else None


def _why_unreadable(text: str) -> str:
    if not text.strip():
        return "no receipt key"
    try:
        float(text.replace(",", "."))
    except ValueError:
        return "no receipt key"
    return "a number; the spreadsheet has lost the key: take it from `vyris receipts refunds-due`"


def _why_unchanged(state: str | None) -> str:
    match state:
        case None:
            return "there is no such receipt"
        case "REFUNDED":
            return "REFUNDED already"
        case _:
            return f"not exported, but {state}"


def _first_lines(lines: Sequence[str]) -> str:
    more = [f"… and {len(lines) - NAMED_LIMIT} more"] if len(lines) > NAMED_LIMIT else []
    return "\n".join([*lines[:NAMED_LIMIT], *more])
