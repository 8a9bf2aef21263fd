"""A device: a name and the private key that signs for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)


@dataclass(frozen=True)
class Device:
    """Holds a membership once it is enrolled, and then proves each request that the owner's device must make."""

    device_id: str
    """1 to 128 printable ASCII characters."""
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    """P-256."""

    @classmethod
    def generate(cls, device_id: str) -> Self:
        """Make a device with a new key."""
        return cls(device_id, ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, device_id: str, pem: bytes, password: bytes | None = None) -> Self:
        """Read a device's key. Raises ValueError for what is no P-256 private key."""
        key = load_pem_private_key(pem, password)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("the key is not P-256")
        return cls(device_id, key)

    @property
    def public_key_pem(self) -> str:
        """What is enrolled (SubjectPublicKeyInfo)."""
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def private_key_pem(self) -> bytes:
        """What `from_pem` reads (PKCS #8, not encrypted): to be kept where nobody else reads it."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
