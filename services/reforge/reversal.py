"""Saying no to a move, and taking one back."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from services import audit_log
from services.device_proof import ClaimedProof, DeviceProofs, VerifiedProof
from services.device_proof.spending import spend
from services.reforge import metrics
from services.reforge.confirmation import ENDED, refuse_ended
from services.reforge.lookups import locked_request, request_named_by, request_with_id, subject_named_by
from services.reforge.mail_facts import request_facts
from services.reforge.outbox import NOTICE_LIFETIME, MailKind, enqueue
from services.reforge.statements import QUERIES, append_moved
from services.reforge.tokens import Purpose
from services.storage.connections import Connection
from services.storage.database import Database
from vyris.errors import Expired, Unauthorized


class Reversal:
    """Refuses pending moves and changes of address, and undoes confirmed moves."""

    def __init__(self, database: Database, proofs: DeviceProofs) -> None:
        self._database = database
        self._proofs = proofs

    async def refuse_by_token(self, token: str) -> None:
        """Refuse what the token of a mail names: a move or a change of address. Raises NotFound, Expired."""
        change = await subject_named_by(self._database, Purpose.REFUSE_EMAIL, token)
        if change is not None:
            return await self._keep_email(change["id"])
        found = await request_named_by(self._database, Purpose.MOVE, token)
        return await self._refuse(found, None)

    async def refuse_by_device(self, reforge_id: str, proof: ClaimedProof) -> None:
        """Refuse a pending move by the membership's active device. Raises NotFound, Unauthorized, Expired."""
        found = await request_with_id(self._database, reforge_id)
        await self._refuse(found, self._proof(proof, found["active_thumbprint"]))

    async def undo_by_token(self, token: str) -> UUID:
        """Take back the move that a notice's token names. Raises NotFound, Expired."""
        return await self._undo(await request_named_by(self._database, Purpose.UNDO, token), None)

    async def undo_by_device(self, reforge_id: str, proof: ClaimedProof) -> UUID:
        """Take back a move by the device that held the membership before. Raises NotFound, Unauthorized, Expired."""
        found = await request_with_id(self._database, reforge_id)
        return await self._undo(found, self._proof(proof, found["old_thumbprint"]))

    def _proof(self, proof: ClaimedProof, thumbprint: str | None) -> VerifiedProof:
        if proof.text is None or thumbprint is None:
            raise Unauthorized("A proof by the membership's device is required (header DPoP), or the link's token")
        return self._proofs.verified(proof, thumbprint=thumbprint)

    async def _refuse(self, found: asyncpg.Record, proof: VerifiedProof | None) -> None:
        async def work(connection: Connection) -> None:
            request = await locked_request(connection, found)
            refuse_ended(request)
            await spend(connection, proof)
            if await connection.fetchval(QUERIES["mark_refused"], request["id"]) is None:
                raise Expired(ENDED["SUPERSEDED"])
            await audit_log.append(
                connection,
                actor="reforge",
                action="reforge.refused",
                subject=str(request["membership_id"]),
                reason="refused by the active device" if proof else "refused by the link in the owner's mailbox",
                details={"reforge_id": str(request["id"])},
            )

        await self._database.in_transaction(work)
        metrics.MOVES.labels("refused").inc()

    async def _keep_email(self, change_id: UUID) -> None:
        async def work(connection: Connection) -> None:
            membership_id = await connection.fetchval(QUERIES["refuse_email_change"], change_id)
            if membership_id is None:
                raise Expired("This change of address can no longer be refused")
            await audit_log.append(
                connection,
                actor="reforge",
                action="email.change_refused",
                subject=str(membership_id),
                reason="refused by the link in the old mailbox",
                details={"change_id": str(change_id)},
            )

        await self._database.in_transaction(work)

    async def _undo(self, found: asyncpg.Record, proof: VerifiedProof | None) -> UUID:
        async def work(connection: Connection) -> UUID:
            request = await locked_request(connection, found)
            refuse_settled(request)
            await spend(connection, proof)
            await _restore(connection, request)
            await append_moved(
                connection,
                request["membership_id"],
                "reforge.undone",
                reason="undone by the old device" if proof else "undone by the link in the owner's mailbox",
                details={"reforge_id": str(request["id"])},
            )
            membership_id: UUID = request["membership_id"]
            return membership_id

        undone = await self._database.in_transaction(work)
        metrics.MOVES.labels("undone").inc()
        return undone


async def _restore(connection: Connection, request: asyncpg.Record) -> None:
    """The old device, if there was one, is active again; whatever the new one began comes to nothing."""
    membership_id = request["membership_id"]
    await connection.execute(QUERIES["retire_device"], membership_id)
    if request["old_thumbprint"] is not None:
        await connection.execute(QUERIES["reactivate_device"], membership_id, request["old_thumbprint"])
    await connection.execute(QUERIES["mark_undone"], request["id"])
    # In this order, which is also that of a change of address taking effect: no deadlock.
    await connection.execute(QUERIES["drop_open_email_change"], membership_id)
    await connection.execute(QUERIES["supersede_pending"], membership_id, True)
    await enqueue(
        connection,
        MailKind.UNDONE,
        request["id"],
        recipient=request["email"],
        facts=request_facts(request, request),
        useless_after=request["undo_until"] + NOTICE_LIFETIME,
    )


def refuse_settled(request: asyncpg.Record) -> None:
    """A move that can no longer be taken back. Raises Expired."""
    if request["state"] == "UNDONE":
        raise Expired("This move was taken back already")
    if request["state"] != "CONFIRMED":
        raise Expired("There is no move that could be taken back")
    if not request["can_be_undone"]:
        raise Expired("The time in which this move could be taken back is over")
    # Moves that went on from there are taken back with it: else whoever took the membership moves it once more.
    if request["revoked"] or request["active_thumbprint"] != request["moved_to"]:
        raise Expired("The membership has changed since, so this move cannot be taken back")
