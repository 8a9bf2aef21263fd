"""The mint cycle of drops that sell by hold or have limits: first the receipts of users with a hold.

A receipt whose user has a live hold needs no slot, so the bouncer is not asked and SOLD_OUT is impossible. The other
receipts go through the ordinary cycle, with the statement that checks limits.
"""

from __future__ import annotations

from services.data.storage.bisection import around_refused
from services.data.storage.failures import DataRejected
from services.mint import metrics
from services.mint.bouncer import Bouncer
from services.mint.cycle import Groups, MintCycle, ReceiptGroup, Recount
from services.mint.drops import Drop
from services.mint.ledger import CountedLedger, Outcome
from services.server import failpoints

UNIQUE_VIOLATION = "SQLSTATE 23505"


class CountedMintCycle(MintCycle):
    """Works on the batches of one drop that sells by hold or has limits."""

    def __init__(self, drop: Drop, ledger: CountedLedger, bouncer: Bouncer, recount: Recount) -> None:
        super().__init__(drop, ledger, bouncer, recount)
        self._counted_ledger = ledger
        self._raced: Groups = []

    async def _ask_and_mint(self, batch: Groups) -> Groups:
        self._raced = []
        if self._drop.sale != "direct":
            batch = await self._mint_held(batch)
        undecided = await super()._ask_and_mint(batch) if batch else []
        return undecided + self._raced

    async def _mint_held(self, batch: Groups) -> Groups:
        """Mint the receipts whose users have a hold. Return the undecided groups."""

        async def mint_part(groups: Groups) -> Groups:
            with metrics.STEP_SECONDS("mint_held").time():
                rows = await self._counted_ledger.mint_held(self._drop.id, [group.first for group in groups])
            metrics.HOLDS_USED.inc(sum(row.outcome == Outcome.MINTED for row in rows.values()))
            await failpoints.reach("mint.committed")
            return self._answer(groups, rows)

        parts = await around_refused(batch, mint_part, self._poison)
        return [group for part in parts for group in part]

    async def _poison(self, group: ReceiptGroup, refusal: DataRejected) -> None:
        """Leave a receipt to the next batch if another process counted the same key at the same moment."""
        if refusal.cause == UNIQUE_VIOLATION:
            self._raced.append(group)
        else:
            await super()._poison(group, refusal)
