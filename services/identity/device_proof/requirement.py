"""Decide whether a call needs a proof: by the setting, and by whether a device is enrolled."""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from services.identity.device_proof.settings import DeviceProofMode
from services.identity.device_proof.verification import VerifiedProof, verify_proof
from services.server.runtime.call import Call
from vyris.device_proof import METADATA_KEY, grpc_target, http_target
from vyris.errors import Unauthorized


class ClaimedProof(NamedTuple):
    """A call's device proof, not verified yet (None: the call has none), and the call that it must prove."""

    text: str | None
    method: MethodDescriptor
    request: Message


def claimed_proof(call: Call, request: Message) -> ClaimedProof:
    """Read the call's proof from metadata `dpop` (the header DPoP through the gateway).

    Several values are joined, as in HTTP (RFC 9110, 5.3). The result is not a valid proof, so it is refused if a proof
    is needed.
    """
    values = call.metadata_values(METADATA_KEY)
    return ClaimedProof(", ".join(values) if values else None, call.method, request)


class DeviceProofs:
    """Requires proofs as `DEVICE_PROOF` sets it, and accepts them for the gateway's address and for native gRPC."""

    def __init__(self, mode: DeviceProofMode, public_base_url: str) -> None:
        self._mode = mode
        self._public_base_url = public_base_url

    def required(
        self,
        claimed: ClaimedProof,
        *,
        enrolled_thumbprint: str | None,
        for_device_alone: bool = False,
    ) -> VerifiedProof | None:
        """Verify the proof if the call needs one. Return the proof to spend, or None if the call needs none.

        `enrolled_thumbprint`: the stored thumbprint of the membership's active device (RFC 7638, base64url), or None if
        no device is enrolled. `for_device_alone`: refuse a call without an enrolled device, even with
        `DEVICE_PROOF=when-enrolled`. Raises `Unauthorized` if a proof is needed and missing or invalid.
        """
        if self._mode is DeviceProofMode.OFF:
            return None
        if enrolled_thumbprint is None:
            if for_device_alone or self._mode is DeviceProofMode.ALWAYS:
                raise Unauthorized("This membership has no enrolled device that could prove the call")
            return None
        return self.verified(claimed, thumbprint=enrolled_thumbprint)

    def verified(self, claimed: ClaimedProof, *, thumbprint: str | None) -> VerifiedProof:
        """Verify a proof by the key named `thumbprint`, with every setting of `DEVICE_PROOF`.

        Raises `Unauthorized`, also if there is no proof or `thumbprint` is None.
        """
        if claimed.text is None or thumbprint is None:
            raise Unauthorized("A proof by the membership's enrolled device is required (header DPoP)")
        targets = [grpc_target(claimed.method)]
        through_gateway = http_target(self._public_base_url, claimed.method, claimed.request)
        if through_gateway is not None:
            targets.append(through_gateway)
        return verify_proof(claimed.text, thumbprint=thumbprint, targets=targets, request=claimed.request)
