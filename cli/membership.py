"""`vyris membership`: show and revoke memberships."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from admin import memberships
from cli import backends
from cli.actor import operator
from cli.console import AsJson, Reason, err, fail, run_async, show_one
from cli.membership_email import set_email

app = typer.Typer(no_args_is_help=True, help="Show and revoke memberships; change an owner's address.")
app.command("set-email")(set_email)

MembershipId = Annotated[UUID, typer.Argument(help="The membership's id.")]


@app.command("show")
@run_async
async def show_membership(membership_id: MembershipId, as_json: AsJson = False) -> None:
    """Show a membership, its number and its receipt's state."""
    async with backends.database() as database:
        row = await memberships.read_membership(database, membership_id)
    if row is None:
        fail(f"There is no membership {membership_id}.")
    show_one(dict(row), as_json=as_json)


@app.command()
@run_async
async def revoke(
    membership_id: MembershipId,
    reason: Reason,
    free_number: Annotated[bool, typer.Option("--free-number", help="Put its number up for sale again.")] = False,
) -> None:
    """End a membership: its pass becomes void, its receipt never mints again."""
    async with backends.database() as database:
        revoked = await memberships.revoke_membership(
            database, membership_id, operator(reason), frees_number=free_number
        )
    if not revoked:
        fail(f"There is no live membership {membership_id}.")
    err.print(f"Revoked membership {membership_id}.", highlight=False)
