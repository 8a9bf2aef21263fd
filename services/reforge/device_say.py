"""What a device's proof counts for: which device proved the call, and whether mailbox and operator overrule it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from services.device_proof import ClaimedProof, DeviceProofs, VerifiedProof
from services.reforge.statements import QUERIES
from services.storage.connections import Connection
from vyris.errors import Unauthorized

MISSING = "A proof by the membership's device is required (header DPoP), or the link's token"


def require_proof(proofs: DeviceProofs, proof: ClaimedProof, thumbprint: str | None) -> VerifiedProof:
    """A proof by this key, also where `DEVICE_PROOF` is off. Raises Unauthorized."""
    if proof.text is None or thumbprint is None:
        raise Unauthorized(MISSING)
    return proofs.verified(proof, thumbprint=thumbprint)


async def refuse_overruled(
    connection: Connection, membership_id: UUID, proof: VerifiedProof, *, window_h: int, moment: datetime | None = None
) -> None:
    """After an operator's change of address, the device that was there before has no say for `window_h` hours.

    The old mailbox could have refused that change and did not: that is two against one. `moment` is when what the
    device objects to was decided, by default now. Raises Unauthorized.
    """
    if await connection.fetchval(QUERIES["is_overruled"], membership_id, proof.thumbprint, moment, window_h):
        raise Unauthorized(
            "Support has changed the address of this membership: for now only its mailbox decides, and not this device"
        )
