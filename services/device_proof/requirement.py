"""Whether a call needs a proof, by the setting and by what is enrolled."""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from services.device_proof.settings import DeviceProofMode
from services.device_proof.verification import VerifiedProof, verify_proof
from services.runtime.call import Call
from vyris.device_proof import METADATA_KEY, grpc_target, http_target
from vyris.errors import Unauthorized


class ClaimedProof(NamedTuple):
    """What a call brings as its device proof, None where it brings nothing, and the call that it is to prove."""

    text: str | None
    method: MethodDescriptor
    request: Message


def claimed_proof(call: Call, request: Message) -> ClaimedProof:
    """The proof that came with the call, in metadata `dpop` (the header DPoP through the gateway).

    Several are joined, as HTTP does it (RFC 9110, 5.3): that is no proof, and is refused where one is looked at, not
    before.
    """
    values = call.metadata_values(METADATA_KEY)
    return ClaimedProof(", ".join(values) if values else None, call.method, request)


class DeviceProofs:
    """Asks for proofs as `DEVICE_PROOF` says and accepts them for the gateway's address and for native gRPC."""

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
        """The proof that is to be spent with the call's effect; None where the call needs none.

        `enrolled_thumbprint` is that of the membership's active device as stored
        (RFC 7638, base64url), None where none is enrolled. A call that is `for_device_alone` is refused there even
        with `DEVICE_PROOF=when-enrolled`. Raises `Unauthorized` where a proof is needed and missing or bad.
        """
        if self._mode is DeviceProofMode.OFF:
            return None
        if enrolled_thumbprint is None:
            if for_device_alone or self._mode is DeviceProofMode.ALWAYS:
                raise Unauthorized("This membership has no enrolled device that could prove the call")
            return None
        return self.verified(claimed, thumbprint=enrolled_thumbprint)

    def verified(self, claimed: ClaimedProof, *, thumbprint: str | None) -> VerifiedProof:
        """Check a proof by the key named `thumbprint`, whatever the setting says.

        Raises `Unauthorized`, also where there is no proof or no such key.
        """
        if claimed.text is None or thumbprint is None:
            raise Unauthorized("A proof by the membership's enrolled device is required (header DPoP)")
        targets = [grpc_target(claimed.method)]
        through_gateway = http_target(self._public_base_url, claimed.method, claimed.request)
        if through_gateway is not None:
            targets.append(through_gateway)
        return verify_proof(claimed.text, thumbprint=thumbprint, targets=targets, request=claimed.request)
