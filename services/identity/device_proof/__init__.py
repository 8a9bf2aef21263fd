"""Device proofs on the server: does this call need one, is it valid, is this its first use.

`claimed_proof` reads the proof of a call. A service then takes three steps:

1. It loads the membership and the thumbprint of its active device.
2. `DeviceProofs.required` verifies the proof (pure, raises `Unauthorized`).
3. `spending.spend` records the verified proof in the transaction of the call's effect.

`vyris.device_proof` describes a proof's form.
"""

from services.identity.device_proof.requirement import ClaimedProof, DeviceProofs, claimed_proof
from services.identity.device_proof.settings import DeviceProofMode, DeviceProofSettings
from services.identity.device_proof.verification import VerifiedProof, named_thumbprint, verify_proof

__all__ = [
    "ClaimedProof",
    "DeviceProofMode",
    "DeviceProofSettings",
    "DeviceProofs",
    "VerifiedProof",
    "claimed_proof",
    "named_thumbprint",
    "verify_proof",
]
