"""Delete the phones of erased persons after they could get the void pass.

An erasure voids the pass at once. A push notifies the phone, which then asks for changes and needs its registration for
that. So the push token is deleted when its push is sent or given up, the registration a day later.
"""

from __future__ import annotations

from typing import Final

from services.data.storage.database import Database
from services.wallet.statements import QUERIES

INTERVAL_S: Final = 30.0
ROWS_A_ROUND: Final = 1_000


class Housekeeping:
    """One task; several processes may run it at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def once(self) -> None:
        """One round; each step is bounded and its own transaction. Raises DatabaseUnavailable."""
        await self._database.execute(QUERIES["forget_pushed_tokens"], ROWS_A_ROUND)
        await self._database.execute(QUERIES["forget_registrations"], ROWS_A_ROUND)
