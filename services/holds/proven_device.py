"""A device that a caller names counts if the same request proves that the caller has its key."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from services.identity.device_proof import ClaimedProof, DeviceProofs
from services.identity.jose import KeyRefused, PublicKey, public_key_from_text
from vyris.device_proof import AGE_LIMIT_S
from vyris.errors import InvalidRequest, Unauthorized

FUTURE_LEEWAY_S: Final = 10


def device_key(request: Any) -> PublicKey | None:
    """The key of the device that a request names; None where it names none. Raises InvalidRequest."""
    if not request.HasField("device"):
        return None
    try:
        return public_key_from_text(request.device.public_key)
    except KeyRefused as refusal:
        raise InvalidRequest(f"device.public_key: {refusal.message}") from None


def proven_thumbprint(
    key: PublicKey,
    claimed: ClaimedProof,
    proofs: DeviceProofs,
    clock_s: Callable[[], float] = time.time,
) -> str | None:
    """Return the thumbprint of the device's key (RFC 7638), or None if the request carries no proof.

    No use is recorded: the proof names the user and the drop (its claim `req`), and a request that is sent again gets
    the same hold. Raises Unauthorized.
    """
    if claimed.text is None:
        return None
    proof = proofs.verified(claimed, thumbprint=key.thumbprint)
    if not -FUTURE_LEEWAY_S <= clock_s() - proof.issued_at_s <= AGE_LIMIT_S:
        raise Unauthorized(f"Device proof: it is older than {AGE_LIMIT_S} s, or its iat lies in the future")
    return key.thumbprint
