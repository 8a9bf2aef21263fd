"""List a membership's moves and changes of address for its device, so that an app can warn the owner.

The active device may list them. A previous device may, too, while the move away from it can be undone: its owner must
see a thief's move.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.identity.device_proof import ClaimedProof, DeviceProofs, named_thumbprint
from services.identity.device_proof.spending import spend
from services.identity.ownership import require_live
from services.reforge.proof_checks import MISSING
from services.reforge.rows import ListedChange, ListedMove, Request
from services.reforge.statements import QUERIES, read_membership
from services.server.runtime.times import rfc3339
from vyris.errors import Unauthorized
from vyris.reforge.v1 import reforge_pb2

LISTED_LIMIT: Final = 50


class Moves:
    """Reads the newest moves and changes of address."""

    def __init__(self, database: Database, proofs: DeviceProofs) -> None:
        self._database = database
        self._proofs = proofs

    async def list_moves(self, membership_id: UUID, proof: ClaimedProof) -> reforge_pb2.ListMovesResponse:
        """The newest moves and changes of address, at most 50 each, newest first. Raises NotFound, Unauthorized."""

        async def read(connection: Connection) -> tuple[list[ListedMove], list[ListedChange]]:
            membership = await read_membership(connection, membership_id)
            require_live(revoked=membership.revoked)
            if proof.text is None:
                raise Unauthorized(MISSING)
            thumbprint = named_thumbprint(proof.text)
            allowed = await connection.fetchval(QUERIES["may_list"], membership_id, thumbprint)
            verified = self._proofs.verified(proof, thumbprint=thumbprint if allowed else membership.thumbprint)
            await spend(connection, verified)
            return (
                [
                    ListedMove(**dict(row))
                    for row in await connection.fetch(QUERIES["list_moves"], membership_id, LISTED_LIMIT)
                ],
                [
                    ListedChange(**dict(row))
                    for row in await connection.fetch(QUERIES["list_email_changes"], membership_id, LISTED_LIMIT)
                ],
            )

        moves, changes = await self._database.in_transaction(read)
        return reforge_pb2.ListMovesResponse(
            moves=[_move(move) for move in moves], email_changes=[_email_change(change) for change in changes]
        )


def move_status(request: Request | ListedMove) -> str:
    """The state of a request. The row stays PENDING when time or a revocation ends the request, so check both."""
    has_ended = request.state == "PENDING" and (request.past_expiry or request.revoked)
    return "EXPIRED" if has_ended else request.state


def _move(move: ListedMove) -> reforge_pb2.Move:
    return reforge_pb2.Move(
        reforge_id=str(move.id),
        status=move_status(move),
        proven=move.proven,
        old_device_id=move.old_device_id or "",
        new_device_id=move.new_device_id,
        asked_from=move.asked_from,
        asked_at=rfc3339(move.created_at),
        expires_at=rfc3339(move.expires_at),
        decided_at=rfc3339(move.decided_at),
        undo_until=rfc3339(move.undo_until),
    )


def _email_change(change: ListedChange) -> reforge_pb2.EmailChange:
    return reforge_pb2.EmailChange(
        status=_change_status(change),
        email=_mask_email(change.new_email),
        asked_by="DEVICE" if change.by_device else "OPERATOR",
        asked_at=rfc3339(change.created_at),
        effective_at=rfc3339(change.applied_at or change.effective_at),
        undo_until=rfc3339(change.undo_until),
    )


def _change_status(change: ListedChange) -> str:
    if change.undone_at:
        return "UNDONE"
    if change.applied_at:
        return "APPLIED"
    if change.refused_at:
        return "REFUSED"
    return "PENDING" if change.by_device and change.confirmed_at is None else "SCHEDULED"


def _mask_email(email: str) -> str:
    """Show enough for an owner to recognise the address, but not enough for a thief to learn it."""
    name, _, domain = email.rpartition("@")
    return f"{name[:1]}***@{domain}"
