"""`vyris membership`: show and revoke memberships."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from cli import backends
from cli.actor import operator_name
from cli.console import AsJson, Reason, err, fail, run_async, show_one
from cli.membership_email import set_email
from services.audit_log import audited
from services.mint.revocation import revoke as revoke_membership
from services.mint.statements import QUERIES

app = typer.Typer(no_args_is_help=True, help="Show and revoke memberships; change an owner's address.")
app.command("set-email")(set_email)

MembershipId = Annotated[UUID, typer.Argument(help="The membership's id.")]


@app.command("show")
@run_async
async def show_membership(membership_id: MembershipId, as_json: AsJson = False) -> None:
    """A membership, its number and its receipt's state."""
    async with backends.database() as database:
        row = await database.fetchrow(QUERIES["read_membership"], membership_id)
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
        revoked = await audited(
            database,
            lambda connection: revoke_membership(
                connection, membership_id, reason=reason, actor=operator_name(), frees_number=free_number
            ),
        )
    if not revoked:
        fail(f"There is no live membership {membership_id}.")
    err.print(f"Revoked membership {membership_id}.", highlight=False)
