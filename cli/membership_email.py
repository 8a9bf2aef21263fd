"""`vyris membership set-email`: the operator changes where an owner can be reached."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from cli.actor import operator
from cli.console import Reason, err, fail
from cli.reforge_operator import change_owner_email
from services.runtime.fields import email_address
from vyris.errors import InvalidRequest
from vyris.reforge.v1 import operator_pb2


def set_email(
    membership_id: Annotated[UUID, typer.Argument(help="The membership's id.")],
    email: Annotated[str, typer.Argument(help="The new address.")],
    reason: Reason,
) -> None:
    """Change the owner's e-mail address: after 72 hours (REFORGE_EMAIL_DELAY_H), with a notice to the old one.

    The notice holds a link that stops the change. Without an address on file it takes effect at once. The reforge
    service does it (REFORGE_ADDRESS; by default the local stack's): the link is derived from a key that it alone holds.
    """
    try:
        address = email_address(email)
    except InvalidRequest as refusal:
        fail(f"Not changed: {refusal.message}.")
    actor = operator(reason)
    change = change_owner_email(
        operator_pb2.ChangeOwnerEmailRequest(
            membership_id=str(membership_id), email=address, actor=actor.name, reason=actor.reason
        )
    )
    when = "is in effect" if change.status == "APPLIED" else f"takes effect at {change.effective_at}"
    err.print(f"The new address of membership {membership_id} {when}.", highlight=False)
