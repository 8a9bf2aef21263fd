"""Device proofs on the server's side: does this call need one, is it good, is it used for the first time.

`claimed_proof` is what a call brings. A service asks in three steps: it loads the membership and the thumbprint of its
active device; `DeviceProofs.required` verifies (pure, raises `Unauthorized`) and
returns what is to be spent; `spending.spend` records it in the transaction of the call's
effect. The form is told in `vyris.device_proof`.
"""

from services.device_proof.requirement import ClaimedProof, DeviceProofs, claimed_proof
from services.device_proof.settings import DeviceProofMode, DeviceProofSettings
from services.device_proof.verification import VerifiedProof, named_thumbprint, verify_proof

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
