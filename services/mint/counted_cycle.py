"""The mint cycle of drops that sell by hold or have limits: first the receipts of users with a hold.

A receipt whose user has a live hold needs no slot, so the bouncer is not asked and SOLD_OUT is impossible. The other
receipts go through the ordinary cycle, with the statement that checks limits.
"""

from __future__ import annotations

from services.data.storage.failures import DatabaseUnavailable, DataRejected
from services.mint import metrics
from services.mint.cycle import Groups, MintCycle, ReceiptGroup
from services.mint.grant import Grant
from services.mint.ledger import MintRow, Outcome

UNIQUE_VIOLATION = "SQLSTATE 23505"


class CountedMintCycle(MintCycle):
    """Works on the batches of one drop that sells by hold or has limits."""

    async def _ask_and_mint(self, batch: Groups) -> Groups:
        if self._drop.sale != "direct":
            batch = await self._mint_held(batch)
        return await super()._ask_and_mint(batch) if batch else []

    async def _mint_held(self, batch: Groups) -> Groups:
        """Mint the receipts whose users have a hold, without claiming a slot. Return the undecided groups."""
        try:
            # is_sold_out=True: nothing is claimed, so nothing about the stock is cached.
            return await self._mint(batch, Grant(self._bouncer, self._count_key, wanted=0), 0, is_sold_out=True)
        except DatabaseUnavailable as error:
            return await self._record(batch, error)

    async def _mint(self, batch: Groups, grant: Grant, limit: int, *, is_sold_out: bool) -> Groups:
        self._raced: Groups = []
        undecided = await super()._mint(batch, grant, limit, is_sold_out=is_sold_out)
        return sorted(undecided + self._raced, key=lambda group: group.key)

    def _answer(self, groups: Groups, rows: dict[bytes, MintRow]) -> Groups:
        metrics.HOLDS_USED.inc(sum(row.outcome == Outcome.MINTED and row.sort_order is None for row in rows.values()))
        return super()._answer(groups, rows)

    async def _poison(self, group: ReceiptGroup, refusal: DataRejected) -> None:
        """Leave a receipt to the next batch if another process counted the same key at the same moment."""
        if refusal.cause == UNIQUE_VIOLATION:
            self._raced.append(group)
        else:
            await super()._poison(group, refusal)
