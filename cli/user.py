"""`vyris user`: erase a person."""

from __future__ import annotations

from typing import Annotated

import typer

from admin.people import erase_person
from cli import backends
from cli.actor import operator
from cli.console import Reason, err, fail, run_async

app = typer.Typer(no_args_is_help=True, help="Erase a person.")


@app.callback()
def user() -> None:
    """Make `erase` a subcommand, even though it is the only one."""


@app.command()
@run_async
async def erase(
    user_id: Annotated[str, typer.Argument(help="The user's id from the identity provider.")],
    reason: Reason,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: this cannot be undone.")] = False,
) -> None:
    """Erase a person: revoke the memberships, delete addresses, devices and mail, keep the receipts' keys.

    Do not name the person in the reason, because the audit log keeps it.
    """
    if not yes:
        typer.confirm("This revokes the user's memberships and cannot be undone. Go on?", abort=True)
    async with backends.database(patient=True) as database:
        erased = await erase_person(database, user_id, operator(reason))
    if not erased.memberships and not erased.receipts and not erased.entries:
        fail("Nothing is known of this user.")
    counts = f"memberships {erased.memberships}, receipts {erased.receipts}, entries {erased.entries}"
    err.print(f"Erased: {counts}.", highlight=False)
