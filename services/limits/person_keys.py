"""Keys that a person has proven, counted by their digests."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.limits.statements import QUERIES

SECRETS_LIMIT: Final = 1_000
USER: Final = "user"

# Columns for `unnest`: the place of the key's request in the batch (from 1), the key's kind, its digest.
KeyColumns = tuple[list[int], list[str], list[bytes]]


class PersonKey(NamedTuple):
    """One key: `user`, `device`, `store_account`, `email` or `payer`, and the digest of its value."""

    kind: str
    digest: bytes


class PersonKeys:
    """Digests keys. Caches the secrets of drops, which never change."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._secrets: dict[int, bytes] = {}

    async def of(self, drop_id: int, limits: Collection[str], proven: Mapping[str, str]) -> tuple[PersonKey, ...]:
        """Return the keys that count in a drop with these `limits`. `proven`: the proven values, by kind.

        There are none if the drop's secret was destroyed. Raises Retryable.
        """
        counted = [(kind, value) for kind, value in proven.items() if kind in limits]
        if not counted:
            return ()
        secret = await self._secret(drop_id)
        if secret is None:
            return ()
        return tuple(PersonKey(kind, key_digest(secret, kind, value)) for kind, value in sorted(counted))

    async def _secret(self, drop_id: int) -> bytes | None:
        secret = self._secrets.get(drop_id)
        if secret is None:
            row = await self._database.fetchrow(QUERIES["find_secret"], drop_id)
            if row is None:
                return None
            if len(self._secrets) >= SECRETS_LIMIT:
                self._secrets.clear()
            secret = self._secrets[drop_id] = row["secret"]
        return secret


def key_digest(secret: bytes, kind: str, value: str) -> bytes:
    """HMAC-SHA-256 of kind and value under the drop's secret."""
    return hmac.digest(secret, kind.encode() + value.encode(), hashlib.sha256)


def key_columns(keys: Sequence[Sequence[PersonKey]]) -> KeyColumns:
    """Flatten the keys of all requests of a batch into columns."""
    flat = [(place, key) for place, own in enumerate(keys, 1) for key in own]
    return [place for place, _ in flat], [key.kind for _, key in flat], [key.digest for _, key in flat]


async def release_keys(connection: Connection, holders: Sequence[UUID]) -> None:
    """Stop counting the keys of these holds or memberships, in the caller's transaction."""
    if holders:
        await connection.execute(QUERIES["release_keys"], holders)


class MemberKeys(NamedTuple):
    """What names the keys of a membership: its drop, its id, and the digest of its user."""

    drop_id: int
    membership_id: UUID
    user_digest: bytes


async def lock_member_keys(connection: Connection, membership_id: UUID) -> tuple[MemberKeys | None, bool]:
    """Lock the keys of a membership whose number came back, in the caller's transaction.

    Return what `count_member_keys` needs (None if the drop counts no keys), and whether a key counts for another now.
    """
    row = await connection.fetchrow(QUERIES["find_member"], membership_id)
    if row is None:
        return None, False
    keys = MemberKeys(row["drop_id"], membership_id, key_digest(row["secret"], USER, row["user_id"]))
    locked = await connection.fetch(QUERIES["lock_member_keys"], *keys)
    return keys, any(key["is_counted"] for key in locked)


async def count_member_keys(connection: Connection, keys: MemberKeys | None) -> None:
    """Count the keys of a restored membership again, in the transaction that has locked them."""
    if keys is not None:
        await connection.execute(QUERIES["count_member_keys"], *keys)
