"""`vyris limit`: the counted keys of a drop, and exceptions."""

from __future__ import annotations

from typing import Annotated

import typer

from admin import limits
from cli import backends
from cli.actor import operator
from cli.console import AsJson, Reason, err, fail, run_async, show
from cli.drop import Sandbox, Tier, Year, found_drop

app = typer.Typer(no_args_is_help=True, help="The keys that count once per person in a drop, and exceptions.")

COLUMNS = ("kind", "counted", "seen", "most_attempts")


@app.command("list")
@run_async
async def list_limits(tier: Tier, year: Year, sandbox: Sandbox = False, as_json: AsJson = False) -> None:
    """Show how many keys of each kind count in a drop now. Their owners are not stored."""
    async with backends.database(patient=True) as database:
        drop = await found_drop(database, tier, year, sandbox=sandbox)
        rows = await limits.count_keys(database, drop)
    limited = ", ".join(sorted(drop.limits)) or "nothing"
    show([dict(row) for row in rows], COLUMNS, as_json=as_json, empty=f"Limited: {limited}. No key was counted yet.")


@app.command()
@run_async
async def waive(
    tier: Tier,
    year: Year,
    user: Annotated[str, typer.Argument(help="The user that may take one more.")],
    reason: Reason,
    sandbox: Sandbox = False,
) -> None:
    """Delete a user's counted keys, with all keys of the same hold or membership, which stays, and of ended ones."""
    async with backends.database() as database:
        drop = await found_drop(database, tier, year, sandbox=sandbox)
        try:
            await limits.waive_limits(database, drop, user, operator(reason))
        except limits.NothingToWaive as refusal:
            fail(f"{refusal}.")
    err.print(f"{user} may take one more in {tier} {year}.", highlight=False)
