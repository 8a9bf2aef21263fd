"""A JWK set (RFC 7517): its usable keys, and why the others were ignored.

Other parties publish these sets, and not only for us. Section 5 says to ignore keys of an unknown type, with missing
members, or with values out of bounds. So one unusable key does not make the others unusable.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from services.identity.jose import PRIVATE_MEMBERS, KeyRefused, is_for_signatures, kid_of

SET_LIMIT_BYTES: Final = 262_144
KEYS_LIMIT: Final = 128
"""The most keys that are kept; further ones are ignored."""
CANDIDATES_LIMIT: Final = 4
"""The most keys to verify a token with: those of one name, or those without a name. Further ones are ignored."""

K = TypeVar("K")
# Turns a JWK into a key. Returns None for a kind that is not accepted. Raises KeyRefused for a broken key.
ReadKey = Callable[[dict[str, Any]], K | None]


class KeySetUnreadable(Exception):
    """The set is unreadable. The message says what is wrong with it or with its source."""


@dataclass(frozen=True)
class KeySet(Generic[K]):
    """Usable keys by `kid` (None: keys without a name), and the reasons why others were ignored."""

    keys: dict[str | None, tuple[K, ...]]
    ignored: tuple[str, ...] = ()

    @property
    def is_unusable(self) -> bool:
        """Whether keys are published and none is usable. An empty set is different: it withdraws all keys."""
        return bool(self.ignored) and not self.keys

    def candidates(self, kid: str | None) -> Sequence[K]:
        """The keys that may have signed a token with this `kid`; at most four.

        Without a `kid` these are the keys without a name. If all keys have a name, these are all, or none if there are
        more than four.
        """
        if kid is not None or None in self.keys:
            return self.keys.get(kid, ())
        everything = [key for named in self.keys.values() for key in named]
        return everything if len(everything) <= CANDIDATES_LIMIT else ()


def read_key_set(raw: bytes, read_key: ReadKey[K]) -> KeySet[K]:
    """Parse a JWK set, with the keys that `read_key` accepts. Raises KeySetUnreadable if `raw` is not a JWK set."""
    keys: dict[str | None, tuple[K, ...]] = {}
    ignored: list[str] = []
    kept = 0
    for jwk in _parse_set(raw):
        try:
            kid, key = _parse_key(jwk, read_key)
            named = keys.get(kid, ())
            if key in named:
                continue
            if kept >= KEYS_LIMIT or len(named) >= CANDIDATES_LIMIT:
                raise KeyRefused("The set holds more keys, or more of one kid, than are kept")
        except KeyRefused as refusal:
            ignored.append(refusal.message)
            continue
        keys[kid] = (*named, key)
        kept += 1
    return KeySet(keys, tuple(ignored))


def _parse_key(jwk: object, read_key: ReadKey[K]) -> tuple[str | None, K]:
    if not isinstance(jwk, dict):
        raise KeyRefused("An element of the set is not a JSON object with unique names")
    if PRIVATE_MEMBERS & jwk.keys():
        raise KeyRefused("The set publishes a private or symmetric key")
    if not is_for_signatures(jwk):
        raise KeyRefused("The key is not meant for signatures (use, key_ops)")
    key = read_key(jwk)
    if key is None:
        raise KeyRefused("The key is of a kind that is not accepted here (kty, crv, alg)")
    return kid_of(jwk), key


def _parse_set(raw: bytes) -> list[object]:
    if len(raw) > SET_LIMIT_BYTES:
        raise KeySetUnreadable(f"the set is larger than {SET_LIMIT_BYTES} bytes")
    try:
        # No key member that we read is a number. Parsing integers as floats avoids the limit on their digits.
        members = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_unique_members, parse_int=float)
    except (ValueError, RecursionError):
        raise KeySetUnreadable("the set is not a JSON object") from None
    listed = members.get("keys") if isinstance(members, dict) else None
    if not isinstance(listed, list):
        raise KeySetUnreadable("the set has no array of keys")
    return listed


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any] | None:
    """Return None for an object that names a member twice (RFC 7517 section 4), so that only this key is ignored."""
    members = dict(pairs)
    return members if len(members) == len(pairs) else None
