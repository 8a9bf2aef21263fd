"""The mint service's RPCs: a request is checked, its drop found, its receipt verified, then the engine mints."""

from __future__ import annotations

from collections.abc import AsyncIterator

from services.mint.drop_watch import DropWatch
from services.mint.drops import Drop, DropDirectory
from services.mint.engine import MintEngine
from services.mint.ledger import MintedMembership, MintOrder
from services.mint.mint_request import checked
from services.mint.receipts.verified import ReceiptClaim
from services.mint.receipts.verifiers import ReceiptVerifiers
from services.runtime.call import Call
from services.runtime.fields import drop_name
from vyris.mint.v1 import mint_pb2


class MintServicer:
    """Serves `vyris.mint.v1.MintService`."""

    def __init__(
        self,
        engine: MintEngine,
        drops: DropDirectory,
        verifiers: ReceiptVerifiers,
        watch: DropWatch,
        default_drop: tuple[str, str],
    ) -> None:
        self._engine = engine
        self._drops = drops
        self._verifiers = verifiers
        self._watch = watch
        self._default_drop = default_drop

    async def mint(self, request: mint_pb2.MintRequest, call: Call) -> mint_pb2.MintResponse:
        """Raises what the contract says of POST /mint."""
        asked = checked(request)
        name = asked.drop or self._default_drop
        drop = await self._drops.named(*name)
        receipt = await self._verifiers.verify(
            ReceiptClaim(asked.receipt_data, asked.user_id, asked.original_transaction_id, name)
        )
        if receipt.environment != drop.environment:
            drop = await self._drops.named(*name, receipt.environment)
        order = MintOrder(receipt, asked.user_id, asked.email, asked.device)
        membership, replayed = await self._engine.mint(drop, order, call.remaining_s)
        if membership.drop_id != drop.id:  # a replay of a receipt that minted in another drop
            drop = await self._drops.numbered(membership.drop_id)
        return mint_pb2.MintResponse(status="FULFILLED", membership=_told(membership, drop), replayed=replayed)

    async def get_drop(self, request: mint_pb2.GetDropRequest, call: Call) -> mint_pb2.GetDropResponse:
        """Raises InvalidRequest, NotFound, Retryable."""
        return await self._watch.read(await self._drops.named(*drop_name(request.tier, request.year)))

    async def watch_drop(
        self, request: mint_pb2.WatchDropRequest, call: Call
    ) -> AsyncIterator[mint_pb2.WatchDropResponse]:
        """The drop at once, then as it changes. Raises InvalidRequest, NotFound, Retryable."""
        drop = await self._drops.named(*drop_name(request.tier, request.year))
        async for seen in self._watch.changes(drop):
            yield mint_pb2.WatchDropResponse(drop=seen)


def _told(membership: MintedMembership, drop: Drop) -> mint_pb2.Membership:
    return mint_pb2.Membership(
        id=membership.id,
        tier=drop.tier,
        year=drop.year,
        sequence_num=membership.sequence_num,
        pass_serial=membership.pass_serial,
    )
