"""Device proofs for mints that name a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.json_format import ParseDict

from vyris.device_proof import Target, build_proof, grpc_target
from vyris.mint.v1 import mint_pb2

MINT = mint_pb2.DESCRIPTOR.services_by_name["MintService"].methods_by_name["Mint"]


def proof_headers(
    body: Mapping[str, Any], key: ec.EllipticCurvePrivateKey | None, target: Target | None = None, **claims: Any
) -> dict[str, str]:
    """The header DPoP for a JSON body, signed by `key`; nothing without a key.

    By default the proof is for the native call, which counts over JSON too and needs no address.
    """
    if key is None:
        return {}
    return {"dpop": build_proof(key, ParseDict(body, mint_pb2.MintRequest()), target or grpc_target(MINT), **claims)}
