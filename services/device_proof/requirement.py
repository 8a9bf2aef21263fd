"""Whether a call needs a proof, by the setting and by what is enrolled."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from services.device_proof.settings import DeviceProofMode
from services.device_proof.verification import VerifiedProof, verify_proof
from vyris.device_proof import grpc_target, http_target
from vyris.errors import Unauthorized


def proof_in(values: Sequence[str]) -> str | None:
    """What the call brings as its proof, None where it brings nothing.

    `values` are all values of the metadata entry `dpop`: `call.metadata_values(METADATA_KEY)`. Several are joined, as
    HTTP does it (RFC 9110, 5.3): that is no proof, and is refused where one is looked at, not before.
    """
    return ", ".join(values) if values else None


class DeviceProofs:
    """Asks for proofs as `DEVICE_PROOF` says and accepts them for the gateway's address and for native gRPC."""

    def __init__(self, mode: DeviceProofMode, public_base_url: str) -> None:
        self._mode = mode
        self._public_base_url = public_base_url

    def required(
        self, *, enrolled_thumbprint: str | None, proof: str | None, method: MethodDescriptor, request: Message
    ) -> VerifiedProof | None:
        """The proof that is to be spent with the call's effect; None where the call needs none.

        `enrolled_thumbprint` is that of the membership's active device as stored
        (RFC 7638, base64url), None where none is enrolled. Raises `Unauthorized` where a proof is needed
        and missing or bad.
        """
        if self._mode is DeviceProofMode.OFF:
            return None
        if enrolled_thumbprint is None:
            if self._mode is DeviceProofMode.ALWAYS:
                raise Unauthorized("This membership has no enrolled device, and calls need a device proof")
            return None
        if proof is None:
            raise Unauthorized("A proof by the membership's enrolled device is required (header DPoP)")
        return self.verified(proof, thumbprint=enrolled_thumbprint, method=method, request=request)

    def verified(self, proof: str, *, thumbprint: str, method: MethodDescriptor, request: Message) -> VerifiedProof:
        """Check a proof by the key named `thumbprint`, whatever the setting says. Raises `Unauthorized`."""
        targets = [grpc_target(method)]
        through_gateway = http_target(self._public_base_url, method, request)
        if through_gateway is not None:
            targets.append(through_gateway)
        return verify_proof(proof, thumbprint=thumbprint, targets=targets, request=request)
