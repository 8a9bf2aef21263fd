"""`vyris membership set-email`: the operator changes where an owner can be reached."""

from __future__ import annotations

import getpass
from typing import Annotated
from uuid import UUID

import typer

from cli import backends
from cli.console import Reason, err, fail, run_async
from services.reforge.email_changes import EmailChanges
from services.reforge.settings import ReforgeSettings, token_key
from services.runtime.fields import email_address
from services.runtime.settings import WrongSetting
from services.runtime.times import rfc3339
from services.storage.failures import DatabaseFailed
from vyris.errors import VyrisError


@run_async
async def set_email(
    membership_id: Annotated[UUID, typer.Argument(help="The membership's id.")],
    email: Annotated[str, typer.Argument(help="The new address.")],
    reason: Reason,
) -> None:
    """Change the owner's e-mail address: after 72 hours (REFORGE_EMAIL_DELAY_H), with a notice to the old one.

    The notice holds a link that stops the change. Without an address on file it takes effect at once.
    """
    settings = ReforgeSettings(database_url=backends.database_url())
    try:
        keys = token_key(settings)
    except WrongSetting as problem:
        fail(f"Not changed: {problem}.")
    async with backends.database() as database:
        changes = EmailChanges(database, keys)
        try:
            change = await changes.change_by_operator(
                membership_id,
                email_address(email),
                operator=getpass.getuser(),
                reason=reason,
                delay_h=settings.reforge_email_delay_h,
            )
        except DatabaseFailed:
            raise
        except VyrisError as refusal:
            fail(f"Not changed: {refusal.message}.")
    when = "is in effect" if change.applied else f"takes effect at {rfc3339(change.effective_at)}"
    err.print(f"The new address of membership {membership_id} {when}.", highlight=False)
