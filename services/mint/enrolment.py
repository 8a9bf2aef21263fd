"""Whether the device that a mint names may be enrolled: only with a proof by its own key in the same request.

A replay is answered for ever (rule 2), and a caller whose answer was lost may send the same bytes again. So a proof's
signature, address and request are checked at each mint that names a device, but its age only where it could enrol. No
use is recorded: the proof names its receipt, and a receipt enrols a device at most once, when it mints.
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
    """Judges the proofs of mints that name a device."""

    def __init__(
        self,
        database: Database,
        proofs: DeviceProofs,
        minted_in: Callable[[bytes], Awaitable[int | None]],
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """`minted_in` gives the drop where the receipt of a key became a membership, or None."""
        self._database = database
        self._proofs = proofs
        self._minted_in = minted_in
        self._clock_s = clock_s

    def verified(self, device: EnrolledDevice, claimed: ClaimedProof) -> VerifiedProof:
        """The proof by `device`, its age not judged yet. `DEVICE_PROOF` is not asked. Raises Unauthorized."""
        if claimed.text is None:
            raise Unauthorized("A proof by the key of the device is required (header DPoP)")
        return self._proofs.verified(claimed, thumbprint=device.thumbprint)

    async def require_timely(self, proof: VerifiedProof | None, receipt_key: bytes) -> None:
        """A proof that may enrol is at most a minute old. Raises Unauthorized, Retryable.

        This process's clock can say so at no cost. Where it says no, Postgres' clock decides; a receipt that has minted
        enrols nothing any more.
        """
        if proof is None or -FUTURE_LEEWAY_S <= self._clock_s() - proof.issued_at_s <= AGE_LIMIT_S:
            return
        if not await is_fresh(self._database, proof) and await self._minted_in(receipt_key) is None:
            raise Unauthorized(STALE_MESSAGE)
