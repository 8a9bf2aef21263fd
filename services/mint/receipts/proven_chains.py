"""Certificate chains that were proven genuine, so that the next receipt of the same signer costs one signature check.

What the App Store signs brings its certificate chain along (`x5c`, RFC 7515 section
4.1.6), and one chain signs millions of receipts. Proving a chain costs about 2 ms.
An entry holds only inside the validity of every certificate in the chain, for a bounded
time, and there is a bounded number of entries: nothing enters that was not proven.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.jose import KeyRefused, PublicKey, public_key_from_text

CHAINS_LIMIT: Final = 32
AGE_LIMIT_S: Final = 900.0

# Certificates as the header lists them: base64 of DER, leaf first.
Chain = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Validity:
    """When all certificates of a chain are valid, in seconds since 1970."""

    from_s: float
    until_s: float

    def covers(self, moment_s: float) -> bool:
        """Whether they were all valid at that moment."""
        return self.from_s <= moment_s < self.until_s


@dataclass(frozen=True, slots=True)
class _Proven:
    leaf: PublicKey
    validity: Validity
    forget_at_s: float


class ProvenChains:
    """Leaf keys by the chain that proved them."""

    def __init__(self, roots: Sequence[x509.Certificate], clock_s: Callable[[], float] = time.monotonic) -> None:
        self._roots = roots
        self._clock_s = clock_s
        self._proven: dict[Chain, _Proven] = {}

    def leaf_key(self, chain: Chain, signed_at_s: float) -> PublicKey | None:
        """The key that the chain proves for something signed at that moment; None where it must be proven anew."""
        found = self._proven.get(chain)
        if found is None or not found.validity.covers(signed_at_s) or self._clock_s() >= found.forget_at_s:
            return None
        return found.leaf

    def remember(self, chain: Chain) -> None:
        """Enter a chain that was just proven. One that cannot be read here is left out: it is proven each time."""
        validity = self.validity(chain)
        if validity is None:
            return
        try:
            leaf = _certificate(chain[0]).public_key()
            key = public_key_from_text(leaf.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())
        except (ValueError, KeyRefused):
            return
        self._proven.pop(chain, None)
        while len(self._proven) >= CHAINS_LIMIT:
            del self._proven[next(iter(self._proven))]
        self._proven[chain] = _Proven(key, validity, self._clock_s() + AGE_LIMIT_S)

    def validity(self, chain: Chain) -> Validity | None:
        """When leaf, intermediate and our root above them are valid; None where the chain does not lead to a root."""
        try:
            certificates = [_certificate(text) for text in chain[:2]]
        except ValueError:
            return None
        # The root that the header brings is nobody's proof: ours of that name counts, and all of them if several.
        roots = [root for root in self._roots if certificates and root.subject == certificates[-1].issuer]
        if not roots:
            return None
        certificates += roots
        return Validity(
            max(certificate.not_valid_before_utc.timestamp() for certificate in certificates),
            min(certificate.not_valid_after_utc.timestamp() for certificate in certificates),
        )


def _certificate(text: str) -> x509.Certificate:
    return x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
