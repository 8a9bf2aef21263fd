"""The local stack's signing key, made on first use: `keys/encounter_private.pem` and `encounter_public.pem`.

In production there is none: whoever proves encounters keeps the private key to himself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from services.development_keys import held, write_whole
from services.runtime.settings import WrongSetting

PRIVATE_NAME: Final = "encounter_private.pem"
PUBLIC_NAME: Final = "encounter_public.pem"


def development_key(state_dir: Path) -> ec.EllipticCurvePrivateKey:
    """The P-256 key below `state_dir`, generated where there is none; both files are there afterwards.

    Processes that start at once end up with the same key. Raises WrongSetting.
    """
    folder = state_dir / "keys"
    try:
        with held(folder, "encounter"):
            return _kept_or_generated(folder)
    except OSError as failure:
        raise WrongSetting(f"the key in VYRIS_STATE_DIR ({folder}) cannot be used: {failure.strerror}") from failure


def has_development_key(state_dir: Path) -> bool:
    """Whether a service made its key below `state_dir`."""
    return (state_dir / "keys" / PRIVATE_NAME).exists()


def public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """SubjectPublicKeyInfo in PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _kept_or_generated(folder: Path) -> ec.EllipticCurvePrivateKey:
    private_file, public_file = folder / PRIVATE_NAME, folder / PUBLIC_NAME
    if private_file.exists():
        key = _read(private_file)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_whole(private_file, pem)
    wanted = public_pem(key).encode()
    if not public_file.exists() or public_file.read_bytes() != wanted:
        write_whole(public_file, wanted, mode=0o644)
    return key


def _read(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise WrongSetting(f"{path} holds no P-256 private key; remove it and a new one is made")
    return key
