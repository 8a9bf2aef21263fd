"""Which device proofs count: by the right device, and not overruled by mailbox and operator."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from services.data.storage.connections import Connection
from services.identity.device_proof import ClaimedProof, DeviceProofs, VerifiedProof
from services.reforge.statements import QUERIES
from vyris.errors import Unauthorized

MISSING = "A proof by the membership's device is required (header DPoP), or the link's token"


def require_proof(proofs: DeviceProofs, proof: ClaimedProof, thumbprint: str | None) -> VerifiedProof:
    """Verify a proof by this key. The proof is required even with `DEVICE_PROOF=off`. Raises Unauthorized."""
    if proof.text is None or thumbprint is None:
        raise Unauthorized(MISSING)
    return proofs.verified(proof, thumbprint=thumbprint)


async def refuse_overruled(
    connection: Connection, membership_id: UUID, proof: VerifiedProof, *, window_h: int, moment: datetime | None = None
) -> None:
    """Refuse a device that mailbox and operator overrule. Raises Unauthorized.

    For `window_h` hours after an operator's change of address, a device that was enrolled before it has no say: the old
    mailbox could have refused the change and did not, so two factors are against one. `moment` is the time of the
    decision that the device objects to; by default now.
    """
    if await connection.fetchval(QUERIES["is_overruled"], membership_id, proof.thumbprint, moment, window_h):
        raise Unauthorized(
            "Support has changed the address of this membership: for now only its mailbox decides, and not this device"
        )
