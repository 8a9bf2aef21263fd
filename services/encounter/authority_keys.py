"""The keys that may sign encounter tokens: parsed once, found by `kid`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from services.identity.jose import (
    KeyRefused,
    NotStrict,
    PublicKey,
    kid_of,
    public_key_from_jwk,
    public_key_from_text,
    read_object,
)
from services.server.runtime.settings import WrongSetting

SETTING: Final = "ENCOUNTER_JWT_PUBLIC_KEY"
# Each key without a name is one more signature to check for a token without kid.
KEYS_LIMIT: Final = 16
_PEM_BLOCK: Final = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?-----END [A-Z0-9 ]+-----", re.DOTALL)


@dataclass(frozen=True)
class AuthorityKeys:
    """Keys by name (`kid` or thumbprint), and the keys to try for a token without `kid`."""

    named: Mapping[str, PublicKey]
    unnamed: Sequence[PublicKey]

    def candidates(self, kid: str | None) -> Sequence[PublicKey]:
        """The keys that may have signed a token with this `kid`; empty if the `kid` is unknown."""
        if kid is None:
            return self.unnamed
        found = self.named.get(kid)
        return () if found is None else (found,)


def authority_keys(text: str) -> AuthorityKeys:
    """Parse the setting: PEM blocks, a JWK or a JWKS; empty text gives no keys. Raises WrongSetting.

    A key is found by its JWK's `kid` and by its thumbprint (RFC 7638). A token without `kid` may be signed by a key
    without `kid`, or by the only key.
    """
    text = text.strip()
    try:
        entries = list(_jwks(text) if text.startswith("{") else _pem_blocks(text))
    except (KeyRefused, NotStrict) as refusal:
        raise WrongSetting(f"{SETTING}: {refusal}") from None
    if len(entries) > KEYS_LIMIT:
        raise WrongSetting(f"{SETTING} holds {len(entries)} keys; at most {KEYS_LIMIT} are kept")
    kids = [kid for kid, _ in entries if kid is not None]
    thumbprints = [key.thumbprint for _, key in entries]
    if len(set(kids)) < len(kids) or len(set(thumbprints)) < len(thumbprints):
        raise WrongSetting(f"{SETTING} names a key or a kid twice")
    named = {key.thumbprint: key for _, key in entries} | {kid: key for kid, key in entries if kid is not None}
    unnamed = [key for kid, key in entries if kid is None]
    return AuthorityKeys(named, unnamed or ([entries[0][1]] if len(entries) == 1 else []))


def _pem_blocks(text: str) -> Iterator[tuple[str | None, PublicKey]]:
    text = text.replace("\\r", "").replace("\\n", "\n")
    if _PEM_BLOCK.sub("", text).strip():
        raise KeyRefused("It holds something that is neither a PEM block nor a JWKS")
    for block in _PEM_BLOCK.findall(text):
        yield None, public_key_from_text("\n".join(line.strip() for line in block.splitlines()))


def _jwks(text: str) -> Iterator[tuple[str | None, PublicKey]]:
    document = read_object(text)
    listed = document.get("keys", [document])
    if not isinstance(listed, list) or not listed or not all(isinstance(jwk, dict) for jwk in listed):
        raise KeyRefused("The JWKS holds no list of keys")
    for jwk in listed:
        yield kid_of(jwk), public_key_from_jwk(jwk)
