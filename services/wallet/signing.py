"""Sign a pass's manifest: detached PKCS#7 (RFC 2315) in DER, as Apple Wallet expects it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder

# Without Binary every LF of the manifest becomes CRLF before it is signed, and the signature is invalid.
# Keep the attributes: Apple Wallet needs the signing time.
_OPTIONS: Final = (PKCS7Options.DetachedSignature, PKCS7Options.Binary)


@dataclass(frozen=True, slots=True)
class SigningCredentials:
    """A pass certificate, its key, and the WWDR intermediate that issued it, parsed."""

    certificate: x509.Certificate
    private_key: RSAPrivateKey
    intermediate: x509.Certificate

    def sign(self, manifest: bytes) -> bytes:
        """Return the signature of these bytes, in DER, with both certificates and the signing time."""
        return (
            PKCS7SignatureBuilder()
            .set_data(manifest)
            .add_signer(self.certificate, self.private_key, SHA256())
            .add_certificate(self.intermediate)
            .sign(Encoding.DER, _OPTIONS)
        )
