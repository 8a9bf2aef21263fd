"""Merchant keys with which receipts were accepted, stored in Postgres.

A withdrawn key proves no new receipt. But a receipt that has minted is still answered: its signature is verified by the
old key, and the ledger has the answer. A key is a row, written when it is first used.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from services.data.storage.database import Database
from services.identity.jose import KeyRefused, PublicKey, stored_public_key
from services.mint.statements import QUERIES

KEYS_LIMIT: Final = 256
READ_AGAIN_S: Final = 5.0


class MerchantKeys:
    """The keys of one merchant by `kid`, the newest first. A merchant may have used one `kid` for several keys."""

    def __init__(self, database: Database, issuer: str, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._issuer = issuer
        self._clock_s = clock_s
        self._keys: dict[str | None, list[PublicKey]] = {}
        self._read_after_s = float("-inf")
        self._reading = asyncio.Lock()

    async def remember(self, kid: str | None, key: PublicKey) -> None:
        """Store a key that has just proven a receipt. Raises Retryable."""
        if key in self._keys.get(kid, []):
            return
        await self._database.execute(QUERIES["remember_merchant_key"], self._issuer, kid or "", key.canonical)
        self._keys.setdefault(kid, []).insert(0, key)

    async def named(self, kid: str | None) -> list[PublicKey]:
        """The keys with this `kid`, read from Postgres at most every few seconds. Raises Retryable."""
        async with self._reading:
            if self._clock_s() >= self._read_after_s:
                rows = await self._database.fetch(QUERIES["list_merchant_keys"], self._issuer, KEYS_LIMIT)
                keys: dict[str | None, list[PublicKey]] = {}
                for row in rows:
                    try:
                        keys.setdefault(row["kid"] or None, []).append(stored_public_key(row["public_key"]))
                    except KeyRefused:
                        continue
                self._keys = keys
                self._read_after_s = self._clock_s() + READ_AGAIN_S
        return self._keys.get(kid, [])
