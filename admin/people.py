"""Erase a person. Rows that must stay get random names instead of the person's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from admin.statements import QUERIES
from services.data.audit_log import Actor, audited
from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.data.storage.locks import REFORGE_MEMBERSHIP, wait_for_key
from services.mint.revocation import revoke

# In this order: a row is deleted after those that refer to it.
FORGOTTEN: Final = (
    "unlink_encounters",
    "forget_locations",
    "forget_proofs",
    "forget_mail",
    "forget_moves",
    "forget_email_changes",
    "forget_contacts",
    "forget_devices",
    "forget_person_keys",
)


@dataclass(frozen=True)
class Erased:
    """How many rows the person had."""

    memberships: int
    receipts: int
    entries: int


async def erase_user(connection: Connection, user_id: str, actor: Actor) -> Erased:
    """Erase a user in the caller's transaction.

    Memberships are revoked for good; the numbers of those that were live are not sold again. Addresses, devices, mail,
    locations, the keys in encounters and the person keys are deleted. Memberships, receipts and holds stay under random
    names. The audit log gets an entry without the person's name, and older entries lose the name. Wallet voids the
    passes, pushes to the phones and deletes them within a day (`services/wallet/housekeeping.py`).
    `schema/personal-data.md` decides for each column.
    """
    # Wait for moves and changes of address of these memberships; later ones find them erased.
    for row in await connection.fetch(QUERIES["ids_of_user"], user_id):
        await wait_for_key(connection, REFORGE_MEMBERSHIP, str(row["id"]))
    rows = await connection.fetch(QUERIES["memberships_of_user"], user_id)
    memberships = [row["id"] for row in rows]
    ids = [str(id_) for id_ in memberships]
    names = [user_id, *(row["name"] for row in await connection.fetch(QUERIES["names_of_person"], memberships))]
    for row in rows:
        if row["revoked"]:
            await connection.execute(QUERIES["tell_wallet"], row["id"])
        else:
            await revoke(connection, row["id"], reason="erased", actor=actor.name, frees_number=False)
    await connection.execute(QUERIES["unname_memberships"], user_id)
    receipts = await connection.fetchval(QUERIES["unname_receipts"], user_id)
    erased = Erased(len(memberships), receipts, await unname_entries(connection, user_id))
    details = {"memberships": ids, "receipts": erased.receipts, "entries": erased.entries}
    await actor.note(connection, "user.erase", "user", **details)
    await connection.execute(QUERIES["redact_audit_log"], ids, names)
    await connection.execute(QUERIES["lock_encounters"])  # late: encounters wait until the commit
    for name in FORGOTTEN:
        await connection.execute(QUERIES[name], memberships)
    await connection.execute(QUERIES["unname_holds"], user_id)
    return erased


async def unname_entries(connection: Connection, user_id: str) -> int:
    """Erase a user's entries in draws, in the caller's transaction. Return how many there were.

    An entry of a draw that has not closed is withdrawn, so its leaf is in no tree. Later the leaf must stay, or the
    root would be wrong: without the salt it is a random number, and it wins nothing.
    """
    await connection.execute(QUERIES["withdraw_entries"], user_id)
    rows = await connection.fetch(QUERIES["unname_entries"], user_id)
    await connection.execute(QUERIES["forget_person_keys"], [row["id"] for row in rows])
    return len(rows)


async def erase_person(database: Database, user_id: str, actor: Actor) -> Erased:
    """Erase a user in a transaction of its own. Raises DatabaseUnavailable."""
    return await audited(database, lambda connection: erase_user(connection, user_id, actor), takes_minutes=True)
