"""Certificate chains (`x5c`, RFC 7515 section 4.1.6): parsed cheaply, and cached once they are proven.

One chain signs millions of receipts, and its proof costs milliseconds. A proof does not expire: it only says that each
certificate signed the next one, and the certificates must be valid at the time of a text's signature. Revocation is
checked elsewhere (`revocation_checks`). Only proven chains are cached, and few of them.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.identity.jose import KeyRefused, PublicKey, public_key_from_text

CHAINS_LIMIT: Final = 32

# Certificates as the header lists them: base64 of DER, leaf first.
Chain = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadChain:
    """A parsed chain. Parsing proves nothing."""

    chain: Chain
    leaf: PublicKey
    # The time in which leaf, intermediate and root are all valid, in seconds since 1970.
    valid_from_s: float
    valid_until_s: float

    def covers(self, moment_s: float) -> bool:
        """Whether all certificates are valid at that moment."""
        return self.valid_from_s <= moment_s < self.valid_until_s


class ProvenChains:
    """Parses chains under our roots, and caches proven ones."""

    def __init__(self, roots: Sequence[x509.Certificate]) -> None:
        self._roots = {root.public_bytes(Encoding.DER): root for root in roots}
        self._proven: dict[Chain, ReadChain] = {}

    def find(self, chain: Chain) -> ReadChain | None:
        """The chain, if it is proven."""
        return self._proven.get(chain)

    def remember(self, chain: ReadChain) -> None:
        """Cache a chain that was just proven; drop the oldest if there are too many."""
        self._proven.pop(chain.chain, None)
        while len(self._proven) >= CHAINS_LIMIT:
            del self._proven[next(iter(self._proven))]
        self._proven[chain.chain] = chain

    def read(self, chain: Chain) -> ReadChain | None:
        """Parse a chain. Return None if it cannot be genuine.

        It cannot if its root is none of ours, its leaf is no P-256 key, or its names do not match. This costs some
        0.1 ms; a proof costs twenty times as much.
        """
        try:
            ders = [base64.b64decode(text, validate=True) for text in chain]
            root = self._roots.get(ders[-1])
            if root is None:
                return None
            leaf, intermediate = (x509.load_der_x509_certificate(der) for der in ders[:-1])
            if leaf.issuer != intermediate.subject or intermediate.issuer != root.subject:
                return None
            pem = leaf.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
            key = public_key_from_text(pem)
            certificates = (leaf, intermediate, root)
            return ReadChain(
                chain,
                key,
                max(certificate.not_valid_before_utc.timestamp() for certificate in certificates),
                min(certificate.not_valid_after_utc.timestamp() for certificate in certificates),
            )
        except (ValueError, TypeError, x509.InvalidVersion, KeyRefused, UnsupportedAlgorithm):
            return None
