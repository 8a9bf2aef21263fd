"""`vyris membership set-email`: an operator changes an owner's address."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from admin.owner_email import EmailNotChanged, change_owner_email
from admin.settings import OperatorSettings
from cli import backends
from cli.actor import operator
from cli.console import Reason, err, fail
from services.server.runtime.fields import email_address
from vyris.errors import InvalidRequest


def set_email(
    membership_id: Annotated[UUID, typer.Argument(help="The membership's id.")],
    email: Annotated[str, typer.Argument(help="The new address.")],
    reason: Reason,
) -> None:
    """Change the owner's e-mail address: after 72 hours (REFORGE_EMAIL_DELAY_H), with a notice to the old one.

    The notice contains a link that stops the change. Without an address on file it takes effect at once. The command
    calls reforge (REFORGE_ADDRESS; by default the local stack's), because only reforge has the key of the link.
    """
    try:
        address = email_address(email)
    except InvalidRequest as refusal:
        fail(f"Not changed: {refusal.message}.")
    settings = OperatorSettings()
    try:
        change = change_owner_email(
            settings,
            reforge_address(settings),
            membership_id=membership_id,
            email=address,
            actor=operator(reason),
        )
    except EmailNotChanged as refusal:
        fail(str(refusal))
    when = "is in effect" if change.status == "APPLIED" else f"takes effect at {change.effective_at}"
    err.print(f"The new address of membership {membership_id} {when}.", highlight=False)


def reforge_address(settings: OperatorSettings) -> str:
    """`host:port` of one reforge process: REFORGE_ADDRESS, or else the local stack's.

    Ends the command if there is none, or if the local stack uses another database than DATABASE_URL.
    """
    if settings.reforge_address:
        return settings.reforge_address.split(",")[0].strip()
    port = backends.listed_ports().get("reforge")
    if port is None:
        fail(backends.no_stack("REFORGE_ADDRESS"))
    if not backends.is_local_database():
        fail(
            "DATABASE_URL names another database than the local stack's: set REFORGE_ADDRESS to the reforge service "
            "that works on it."
        )
    return f"127.0.0.1:{port}"
