"""Beacon chains: their rounds decide draws. When a round is due, and whether a signature is that of a round.

The chain of real draws is drand's quicknet (scheme bls-unchained-g1-rfc9380): signatures in G1, the key in G2, the
message of a round SHA-256 of its number as 8 bytes, big-endian. Chain and key are pinned here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import pyblst

SIGNATURE_BYTES: Final = 48
DOMAIN: Final = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
ROUND_LIMIT: Final = 2**31 - 1
GROUP_ORDER: Final = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
# The generator of G2, compressed (draft-irtf-cfrg-pairing-friendly-curves, 4.2.1).
_G2: Final = pyblst.BlstP2Element.uncompress(
    bytes.fromhex(
        "93e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e"
        "024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8"
    )
)


@dataclass(frozen=True)
class Chain:
    """A beacon chain."""

    chain_hash: bytes
    public_key: bytes
    genesis_time: int  # seconds since 1970
    period_s: int
    is_development: bool = False

    def round_at_s(self, number: int) -> int:
        """When a round is due, in seconds since 1970. The first round is 1."""
        return self.genesis_time + (number - 1) * self.period_s

    def round_at(self, number: int) -> datetime:
        """When a round is due."""
        return datetime.fromtimestamp(self.round_at_s(number), UTC)

    def first_round_from(self, moment: datetime) -> int:
        """The first round that is due at `moment` or later."""
        late_s = moment.timestamp() - self.genesis_time
        return max(1, 1 + -int(-late_s // self.period_s))

    def verifies(self, number: int, signature: bytes) -> bool:
        """Whether `signature` is the chain's for a round. Takes about 2 ms; raises nothing for wrong bytes."""
        if len(signature) != SIGNATURE_BYTES or not 0 < number <= ROUND_LIMIT:
            return False
        try:
            point = pyblst.BlstP1Element.uncompress(signature)
            key = pyblst.BlstP2Element.uncompress(self.public_key)
        except ValueError:
            return False
        if point == pyblst.BlstP1Element():
            return False
        return bool(pyblst.final_verify(pyblst.miller_loop(point, _G2), pyblst.miller_loop(round_point(number), key)))


def round_point(number: int) -> Any:
    """The message of a round as a point of G1, which is signed."""
    message = hashlib.sha256(number.to_bytes(8, "big")).digest()
    return pyblst.BlstP1Element.hash_to_group(message, DOMAIN)


def public_key_of(secret: int) -> bytes:
    """The compressed public key of a secret scalar."""
    return bytes(_G2.scalar_mul(secret).compress())


QUICKNET: Final = Chain(
    bytes.fromhex("52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971"),
    bytes.fromhex(
        "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d106451"
        "0d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a"
    ),
    genesis_time=1_692_803_367,
    period_s=3,
)
