"""A JWK set (RFC 7517): the keys that can be used here, and what was ignored.

Others publish these sets, for others too. Section 5 says to ignore keys whose type is not understood, that miss
members, or whose values are out of bounds: one unusable key never costs the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from services.jose import PRIVATE_MEMBERS, KeyRefused, is_for_signatures, kid_of

SET_LIMIT_BYTES: Final = 262_144
KEYS_LIMIT: Final = 128
"""Usable keys that are kept; further ones are ignored."""
CANDIDATES_LIMIT: Final = 4
"""Keys that a token may be verified with: those of one name, or those without a name. Further ones are ignored."""

K = TypeVar("K")
# Turns a JWK into a key, or None for one of a kind that is not accepted. Raises KeyRefused for one that is broken.
ReadKey = Callable[[dict[str, Any]], K | None]


class KeySetUnreadable(Exception):
    """The message says what is wrong with the set or its source."""


@dataclass(frozen=True)
class KeySet(Generic[K]):
    """Usable keys by `kid` (None: keys without a name), and why others were ignored."""

    keys: dict[str | None, tuple[K, ...]]
    ignored: tuple[str, ...] = ()

    @property
    def is_unusable(self) -> bool:
        """Whether keys are published and none can be used. An empty set is different: it withdraws all keys."""
        return bool(self.ignored) and not self.keys

    def candidates(self, kid: str | None) -> Sequence[K]:
        """The keys that may have signed a token of this `kid`.

        Without a `kid` these are the keys that have none either, else all, where they are few enough to try.
        """
        if kid is not None or None in self.keys:
            return self.keys.get(kid, ())
        everything = [key for named in self.keys.values() for key in named]
        return everything if len(everything) <= CANDIDATES_LIMIT else ()


def read_key_set(raw: bytes, read_key: ReadKey[K]) -> KeySet[K]:
    """The set in `raw`, with the keys that `read_key` takes. Raises KeySetUnreadable for what is no JWK set."""
    keys: dict[str | None, tuple[K, ...]] = {}
    ignored: list[str] = []
    kept = 0
    for jwk in _listed(raw):
        try:
            kid, key = _usable(jwk, read_key)
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


def _usable(jwk: object, read_key: ReadKey[K]) -> tuple[str | None, K]:
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


def _listed(raw: bytes) -> list[object]:
    if len(raw) > SET_LIMIT_BYTES:
        raise KeySetUnreadable(f"the set is larger than {SET_LIMIT_BYTES} bytes")
    try:
        # No member of a key that is read here is a number, so that none is too large to be one.
        members = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_unique_members, parse_int=float)
    except (ValueError, RecursionError):
        raise KeySetUnreadable("the set is not a JSON object") from None
    listed = members.get("keys") if isinstance(members, dict) else None
    if not isinstance(listed, list):
        raise KeySetUnreadable("the set has no array of keys")
    return listed


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any] | None:
    """None for an object that names a member twice (RFC 7517 section 4): it alone is lost."""
    members = dict(pairs)
    return members if len(members) == len(pairs) else None
