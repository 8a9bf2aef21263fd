"""`vyris hold`: list, show and release holds."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from admin import holds
from cli import backends
from cli.actor import operator
from cli.console import AsJson, Reason, RowsLimit, err, fail, run_async, show, show_one, tell_if_cut
from cli.drop import Sandbox, Tier, Year, found_drop

app = typer.Typer(no_args_is_help=True, help="List, show and release holds.")

COLUMNS = ("id", "user_id", "state", "taken_at", "expires_at", "extensions", "late", "membership_id")
ROWS_LIMIT = 1_000

HoldId = Annotated[UUID, typer.Argument(help="The hold's id.")]


def _known_state(state: str | None) -> str | None:
    if state is not None and state not in holds.STATES:
        raise typer.BadParameter(f"a state is one of {', '.join(holds.STATES)}")
    return state


@app.command("list")
@run_async
async def list_holds(
    tier: Tier,
    year: Year,
    state: Annotated[str | None, typer.Option(callback=_known_state, help="HELD, USED, RELEASED or LAPSED.")] = None,
    user: Annotated[str | None, typer.Option(help="Only holds of this user.")] = None,
    limit: RowsLimit = ROWS_LIMIT,
    sandbox: Sandbox = False,
    as_json: AsJson = False,
) -> None:
    """List a drop's holds, newest first. `late` marks a number that is reserved for a buyer who paid too late."""
    async with backends.database(patient=True) as database:
        drop = await found_drop(database, tier, year, sandbox=sandbox)
        rows = await holds.list_holds(database, drop, state=state, user_id=user, limit=limit)
    show([dict(row) for row in rows], COLUMNS, as_json=as_json, empty="There is no such hold.")
    tell_if_cut(rows, limit)


@app.command("show")
@run_async
async def show_hold(hold_id: HoldId, as_json: AsJson = False) -> None:
    """Show one hold and its state."""
    async with backends.database() as database:
        row = await holds.read_hold(database, hold_id)
    if row is None:
        fail(f"There is no hold {hold_id}.")
    show_one(dict(row), as_json=as_json)


@app.command()
@run_async
async def release(hold_id: HoldId, reason: Reason) -> None:
    """End a hold: its number goes to the next in line, or is for sale again."""
    async with backends.database() as database:
        if not await holds.release_hold(database, hold_id, operator(reason)):
            fail(f"There is no live hold {hold_id}.")
    err.print(f"Released hold {hold_id}.", highlight=False)
