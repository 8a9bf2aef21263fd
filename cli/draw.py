"""`vyris draw`: show, close and cancel draws, enter a round by hand, list winners."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from admin import draws
from admin.draws import DrawDesk
from cli import backends
from cli.actor import operator
from cli.console import AsJson, Reason, err, fail, run_async, show, show_one
from cli.drop import Tier, Year, found_drop
from cli.spreadsheet import print_csv
from services.server.runtime.settings import WrongSetting

app = typer.Typer(no_args_is_help=True, help="Show, close and cancel draws, enter a round by hand, list winners.")

WINNERS = ("rank", "wave", "entry_id", "user_id", "state", "expires_at", "membership_id")


@app.command("show")
@run_async
async def show_draw(tier: Tier, year: Year, as_json: AsJson = False) -> None:
    """Show one draw, and what it waits for."""
    async with backends.database() as database:
        drop = await found_drop(database, tier, year, sandbox=False)
        with _refusals():
            shown = await draws.describe_draw(database, drop)
    show_one(shown, as_json=as_json)


@app.command()
@run_async
async def close(tier: Tier, year: Year, reason: Reason) -> None:
    """Close the entries of a draw after their time and count the tree, if no mint process has done it.

    The mint process signs and publishes the root, because only it has the key.
    """
    async with backends.database(patient=True) as database:
        drop = await found_drop(database, tier, year, sandbox=False)
        with _refusals():
            await DrawDesk(database, operator(reason)).close_entries(drop)
    err.print(f"Closed the entries of {tier} {year} and counted them.", highlight=False)


@app.command()
@run_async
async def beacon(
    tier: Tier,
    year: Year,
    signature: Annotated[
        str,
        typer.Argument(help="The signature of the round in force: 96 hexadecimal digits, or a relay's whole answer."),
    ],
    reason: Reason,
) -> None:
    """Enter a round by hand. The signature proves the round: a wrong one is refused."""
    async with backends.database() as database:
        drop = await found_drop(database, tier, year, sandbox=False)
        with _refusals():
            number = await DrawDesk(database, operator(reason)).enter_round(drop, signature)
    err.print(f"Stored round {number}; the mint process draws within a second.", highlight=False)


@app.command()
@run_async
async def winners(
    tier: Tier,
    year: Year,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for the brand's own channel.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the entries that have or had an offer, by rank. The suite sends no mail: the brand notifies the winners."""
    async with backends.database(patient=True) as database:
        drop = await found_drop(database, tier, year, sandbox=False)
        with _refusals():
            rows = [dict(row) for row in await draws.list_winners(database, drop)]
    if as_csv:
        print_csv(rows, WINNERS)
        return
    show(rows, WINNERS, as_json=as_json, empty="Nobody has an offer.")


@app.command()
@run_async
async def cancel(tier: Tier, year: Year, reason: Reason) -> None:
    """Cancel a draw for good. The reason is public; live offers end, memberships stay."""
    async with backends.database() as database:
        drop = await found_drop(database, tier, year, sandbox=False)
        with _refusals():
            await DrawDesk(database, operator(reason)).cancel(drop)
    err.print(f"Cancelled the draw of {tier} {year}.", highlight=False)


@contextmanager
def _refusals() -> Iterator[None]:
    """End the command with a sentence for what the desk refuses."""
    try:
        yield
    except (draws.DrawRefused, WrongSetting) as refusal:
        fail(f"{refusal}.")
