"""Enrol the device that a mint names: only with a proof by its own key in the same request.

A receipt that has minted is answered for ever, and a caller whose answer was lost may send the same bytes again. So a
mint that names a device always checks the proof's signature, address and request, but its age only if the device could
be enrolled. No use is recorded: the proof names its receipt, and a receipt enrols a device at most once.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from services.data.storage.database import Database
from services.identity.device_proof import ClaimedProof, DeviceProofs, VerifiedProof
from services.identity.device_proof.spending import FUTURE_LEEWAY_S, STALE_MESSAGE, is_fresh
from services.mint.ledger import EnrolledDevice
from vyris.device_proof import AGE_LIMIT_S
from vyris.errors import Unauthorized


class Enrolment:
    """Checks the proofs of mints that name a device."""

    def __init__(
        self,
        database: Database,
        proofs: DeviceProofs,
        minted_in: Callable[[bytes], Awaitable[int | None]],
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """`minted_in` returns the id of the drop in which a receipt has minted, by its key, or None."""
        self._database = database
        self._proofs = proofs
        self._minted_in = minted_in
        self._clock_s = clock_s

    def verify(self, device: EnrolledDevice, claimed: ClaimedProof) -> VerifiedProof:
        """Verify the proof by `device`, but not its age. Applies with any `DEVICE_PROOF`. Raises Unauthorized."""
        if claimed.text is None:
            raise Unauthorized("A proof by the key of the device is required (header DPoP)")
        return self._proofs.verified(claimed, thumbprint=device.thumbprint)

    async def require_fresh(self, proof: VerifiedProof | None, receipt_key: bytes) -> None:
        """Require that a proof that may enrol a device is at most a minute old. Raises Unauthorized, Retryable.

        First by this process' clock, which costs nothing. If that says no, by Postgres' clock. A receipt that has
        minted enrols no device, so it needs no fresh proof.
        """
        if proof is None or -FUTURE_LEEWAY_S <= self._clock_s() - proof.issued_at_s <= AGE_LIMIT_S:
            return
        if not await is_fresh(self._database, proof) and await self._minted_in(receipt_key) is None:
            raise Unauthorized(STALE_MESSAGE)
