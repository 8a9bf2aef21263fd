"""The local stack's signing key, made on first use: `keys/encounter_private.pem` and `encounter_public.pem`.

Production has none: there only the signer of encounter tokens has the private key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.identity.development_keys import lock_key, read_or_make_p256_key
from services.server.runtime.settings import WrongSetting
from services.server.runtime.whole_file import write_whole

PRIVATE_NAME: Final = "encounter_private.pem"
PUBLIC_NAME: Final = "encounter_public.pem"


def development_key(state_dir: Path) -> ec.EllipticCurvePrivateKey:
    """Read the P-256 key below `state_dir`, or generate it. Both files exist afterwards. Raises WrongSetting.

    Processes that start at the same time get the same key.
    """
    folder = state_dir / "keys"
    public_file = folder / PUBLIC_NAME
    try:
        key = read_or_make_p256_key(folder, PRIVATE_NAME)
        wanted = public_pem(key).encode()
        with lock_key(folder, PUBLIC_NAME):
            if not public_file.exists() or public_file.read_bytes() != wanted:
                write_whole(public_file, wanted, mode=0o644)
        return key
    except OSError as failure:
        raise WrongSetting(f"the key in VYRIS_STATE_DIR ({folder}) cannot be used: {failure.strerror}") from failure


def has_development_key(state_dir: Path) -> bool:
    """Whether a service made its key below `state_dir`."""
    return (state_dir / "keys" / PRIVATE_NAME).exists()


def public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """SubjectPublicKeyInfo in PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
