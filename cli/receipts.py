"""`vyris receipts`: receipts that got no membership, and their refunds."""

from __future__ import annotations

import csv
import getpass
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic_settings import SettingsConfigDict

from cli import backends
from cli.console import AsJson, err, fail, run_async, show
from services.mint.receipt_kinds import ReceiptKinds, add_app_store
from services.mint.receipts.settings import ReceiptSettings, accepted_kinds
from services.mint.refunds.desk import KEY_BYTES, ROWS_LIMIT, RefundDesk
from services.mint.refunds.reconciliation import Reconciler
from services.runtime.settings import WrongSetting
from services.runtime.times import rfc3339

app = typer.Typer(help="Receipts that got no membership, and their refunds.")

DUE_COLUMNS = ("receipt_key", "state", "reason", "kind", "transaction_id", "user_id", "tier", "year", "created_at")
NOT_RESTORED_COLUMNS = ("membership_id", "tier", "year", "sequence_num", "user_id", "kind", "transaction_id")
RECONCILED_COLUMNS = ("environment", "notifications", "purchases", "refunds", "missed", "outcomes", "unreadable")
# What a spreadsheet would take for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

Limit = Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")]


@app.callback(invoke_without_command=True)
def receipts(
    ctx: typer.Context,
    failed: Annotated[
        bool, typer.Option("--failed", help="List the receipts that got no membership, and why.")
    ] = False,
    limit: Limit = ROWS_LIMIT,
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
    _tell_if_cut(rows, limit)


@app.command("refunds-due")
@run_async
async def refunds_due(
    as_csv: AsCsv = False,
    export: Annotated[
        bool, typer.Option("--export", help="Mark them REFUND_DUE, so that they never mint, and list what was marked.")
    ] = False,
    limit: Limit = ROWS_LIMIT,
    as_json: AsJson = False,
) -> None:
    """Who paid and got no membership. Without --export nothing changes, and what was exported earlier is listed too."""
    async with _desk() as desk:
        rows = await (desk.export(limit) if export else desk.due(limit))
    if as_csv:
        _print_csv([dict(row) for row in rows])
    else:
        show([dict(row) for row in rows], DUE_COLUMNS, as_json=as_json, empty="No refund is due.")
    if export:
        err.print(f"Marked {len(rows)} receipts REFUND_DUE; `vyris receipts refunded` notes what was paid back.")
    _tell_if_cut(rows, limit)


@app.command()
@run_async
async def refunded(
    receipt_keys: Annotated[list[str] | None, typer.Argument(help="Keys of exported receipts (64 hex digits).")] = None,
    from_csv: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A file that `refunds-due --export --csv` printed.")
    ] = None,
) -> None:
    """Note that exported receipts were paid back (REFUND_DUE becomes REFUNDED)."""
    keys = [_key(text) for text in [*(receipt_keys or []), *(_keys_in(from_csv) if from_csv else [])]]
    if not keys:
        fail("Name receipt keys, or a file with --from-csv.")
    async with _desk() as desk:
        marked = await desk.mark_refunded(keys)
    err.print(f"Marked {len(marked)} receipts REFUNDED.", highlight=False)
    if len(marked) < len(set(keys)):
        fail(f"{len(set(keys)) - len(marked)} receipts were not exported, or are REFUNDED already; they are unchanged.")


@app.command("not-restored")
@run_async
async def not_restored(limit: Limit = ROWS_LIMIT, as_json: AsJson = False) -> None:
    """Who paid again after a refund (it was reversed), but whose number is gone: give them another, or the money."""
    async with _desk() as desk:
        rows = await desk.not_restored(limit)
    show([dict(row) for row in rows], NOT_RESTORED_COLUMNS, as_json=as_json, empty="There is nobody.")
    _tell_if_cut(rows, limit)


@app.command()
@run_async
async def reconcile(
    days: Annotated[
        int, typer.Option(min=1, max=179, help="So many days of Apple's notification history (it keeps 180).")
    ] = 30,
    purchases: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Read the refund history of at most so many purchases.")
    ] = ROWS_LIMIT,
    as_json: AsJson = False,
) -> None:
    """Compare what Apple remembers of refunds with what we heard, and apply what was missed. May be repeated."""
    settings = ReconcileSettings()
    kinds = ReceiptKinds()
    async with backends.database(patient=True) as database, AsyncExitStack() as closing:
        try:
            if "app-store" in accepted_kinds(settings):
                await add_app_store(kinds, settings, closing, production=settings.vyris_env == "production")
        except WrongSetting as problem:
            fail(f"{problem}.")
        reconciler = Reconciler(database, kinds.app_store_notices, kinds.app_store_histories, interval_s=0)
        findings = await reconciler.by_command(days, purchases)
        rows = [found.as_row() for found in findings]
        await RefundDesk(database, getpass.getuser()).note_reconciliation(rows, days)
    empty = "Apple cannot be asked: set APP_STORE_API_KEY, APP_STORE_API_KEY_ID and APP_STORE_API_ISSUER_ID."
    show(rows, RECONCILED_COLUMNS, as_json=as_json, empty=empty)
    for found in findings:
        if found.problem:
            fail(f"{found.environment}: {found.problem}. What was found before is applied; try again later.")
    if not findings:
        raise typer.Exit(1)


class ReconcileSettings(ReceiptSettings):
    """The settings of receipts as the mint process reads them."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")

    vyris_env: Literal["development", "production"] = "development"


@asynccontextmanager
async def _desk() -> AsyncIterator[RefundDesk]:
    async with backends.database(patient=True) as database:
        yield RefundDesk(database, getpass.getuser())


def _tell_if_cut(rows: Sequence[Any], limit: int) -> None:
    if len(rows) >= limit:
        err.print(f"These are the first {limit}; there may be more (--limit).", highlight=False)


def _print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(DUE_COLUMNS)
    writer.writerows([_cell(row[column]) for column in DUE_COLUMNS] for row in rows)


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = rfc3339(value) if isinstance(value, datetime) else str(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _keys_in(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if "receipt_key" not in (reader.fieldnames or []):
            fail("The file has no column receipt_key.")
        return [row["receipt_key"] for row in reader]


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        fail("A receipt key is 64 hex digits.")
    return key
