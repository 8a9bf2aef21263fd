"""A device: its id and its private key."""

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
    """A device that can hold a membership.

    Once enrolled, it signs the requests that need a proof by the owner's device.
    """

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
        """Read a device's private key from PEM. Raises ValueError if it is not a P-256 private key."""
        key = load_pem_private_key(pem, password)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("the key is not P-256")
        return cls(device_id, key)

    @property
    def public_key_pem(self) -> str:
        """The public key as PEM (SubjectPublicKeyInfo), for the enrolment."""
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def private_key_pem(self) -> bytes:
        """The private key as PEM (PKCS #8, not encrypted), for `from_pem`. Store it where only you can read it."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
