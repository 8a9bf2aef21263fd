"""Forgetting a person: what the business must keep stays, under names that lead to nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services import audit_log
from services.mint.revocation import revoke
from services.storage.connections import Connection
from services.storage.queries import Queries

QUERIES: Final = Queries.beside(__file__)
# In this order: what refers to a row goes before it.
FORGOTTEN: Final = (
    "forget_mail",
    "forget_moves",
    "forget_email_changes",
    "forget_contacts",
    "forget_devices",
    "forget_pushes",
    "forget_registrations",
    "forget_locations",
)


@dataclass(frozen=True)
class Erased:
    """How much of a person there was."""

    memberships: int
    receipts: int


async def erase_user(connection: Connection, user_id: str, *, reason: str, actor: str) -> Erased:
    """Erase a user in the caller's transaction.

    Memberships are revoked for good; the numbers of those that were live are not sold again. Addresses, devices, push
    tokens, mail and places are deleted. Memberships and receipts stay, unnamed. The audit log says that somebody was
    erased, not who.
    """
    rows = await connection.fetch(QUERIES["memberships_of_user"], user_id)
    memberships = [row["id"] for row in rows]
    for row in rows:
        if not row["revoked"]:
            await revoke(connection, row["id"], reason="erased", actor=actor, frees_number=False)
    for name in FORGOTTEN:
        await connection.execute(QUERIES[name], memberships)
    await connection.execute(QUERIES["forget_person_keys"], memberships)
    await connection.execute(QUERIES["unname_holds"], user_id)
    await connection.execute(QUERIES["unname_memberships"], user_id)
    erased = Erased(len(memberships), await connection.fetchval(QUERIES["unname_receipts"], user_id))
    details = {"memberships": [str(id_) for id_ in memberships], "receipts": erased.receipts}
    await audit_log.append(connection, actor=actor, action="user.erase", subject="user", reason=reason, details=details)
    return erased
