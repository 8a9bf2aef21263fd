"""`vyris user`: erase a person."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import backends
from cli.actor import operator_name
from cli.console import Reason, err, fail, run_async
from cli.erasure import erase_user
from services.audit_log import audited

app = typer.Typer(no_args_is_help=True, help="Erase a person.")


@app.callback()
def user() -> None:
    """Keep `erase` a subcommand, though it is the only one."""


@app.command()
@run_async
async def erase(
    user_id: Annotated[str, typer.Argument(help="The user's id, as the identity provider gives it.")],
    reason: Reason,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: this cannot be undone.")] = False,
) -> None:
    """Forget a person: revoke the memberships, delete addresses, devices and mail, keep the receipts' keys.

    Name nobody in the reason: it is kept.
    """
    if not yes:
        typer.confirm("This revokes the user's memberships and cannot be undone. Go on?", abort=True)
    async with backends.database(patient=True) as database:
        erased = await audited(
            database,
            lambda connection: erase_user(connection, user_id, reason=reason, actor=operator_name()),
            takes_minutes=True,
        )
    if not erased.memberships and not erased.receipts and not erased.entries:
        fail("Nothing is known of this user.")
    counts = f"memberships {erased.memberships}, receipts {erased.receipts}, entries {erased.entries}"
    err.print(f"Erased: {counts}.", highlight=False)
