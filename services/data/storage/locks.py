"""Postgres' advisory locks: the registry of their keys, and the functions that take them.

Each lock is held until the end of the transaction. All processes of one database share the keys, also processes of
another release during an upgrade. So a released key never changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Final

from services.data.storage.connections import Connection
from services.data.storage.queries import Queries

QUERIES: Final = Queries.beside(__file__)
# The object of a lock with only one object.
WHOLE: Final = 0


@unique
class LockClass(IntEnum):
    """The first half of a key; the second half is an object of 32 bits (Postgres, 9.28.10)."""

    MINT_RECOUNT = 0x56595231  # "VYR1"; object: a drop, or WHOLE for all of them
    MINT_REAPER = 0x56595232  # "VYR2"
    ENCOUNTER_RETENTION = 0x56595233  # "VYR3"
    MINT_RETURNS = 0x56595234  # "VYR4"; object: a drop
    MINT_LAPSES = 0x56595235  # "VYR5"
    MINT_DRAWS = 0x56595236  # "VYR6"; object: a drop
    WALLET_MEMBERSHIP = 0x77616C6C  # "wall"; object: hash of a membership


@dataclass(frozen=True)
class LockKey:
    """A key of 64 bits, hashed from a text. In Postgres it is separate from keys with two halves."""

    prefix: str
    seed: int


MINT_PURCHASE: Final = LockKey("", 0x5659523)  # of a receipt's key
REFORGE_MEMBERSHIP: Final = LockKey("vyris.reforge:", 0)


async def try_lock(connection: Connection, lock_class: LockClass, lock_object: int = WHOLE) -> bool:
    """Take a lock unless another transaction holds it. Return whether it was taken."""
    return bool(await connection.fetchval(QUERIES["try_lock"], lock_class, lock_object))


async def wait_for_lock(connection: Connection, lock_class: LockClass, lock_object: int = WHOLE) -> None:
    """Take a lock as soon as it is free. Fails after Postgres' lock timeout."""
    await connection.execute(QUERIES["wait_for_lock"], lock_class, lock_object)


async def wait_for_hashed_locks(connection: Connection, lock_class: LockClass, objects: Iterable[str]) -> None:
    """Take a lock for each text, always in the same order, so that transactions cannot deadlock."""
    await connection.execute(QUERIES["wait_for_hashed_locks"], lock_class, sorted(objects))


async def wait_for_key(connection: Connection, key: LockKey, text: str) -> None:
    """Take the lock of a text as soon as it is free. Fails after Postgres' lock timeout."""
    await connection.execute(QUERIES["wait_for_key"], key.prefix + text, key.seed)
