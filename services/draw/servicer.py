"""The draw service's RPCs."""

from __future__ import annotations

from typing import Final

import asyncpg

from services.draw.closing import LEAVES_A_PAGE, leaves_of
from services.draw.document import etag_of
from services.draw.engine import DrawEngine
from services.draw.entering import EntryOrder
from services.draw.maths import order_key
from services.holds.proven_device import device_key
from services.holds.proven_keys import ProvenKeys
from services.mint.drops import Drop, DropDirectory
from services.server.runtime.call import Call
from services.server.runtime.fields import drop_name, email_address, known_uuid, refuse_nul
from services.server.runtime.request_checks import compile_check
from services.server.runtime.times import rfc3339
from vyris.draw.v1 import draw_pb2
from vyris.errors import DropNotOpen, NotFound, VyrisError

PAGES_LIMIT: Final = 1_000_000
OFFERS_A_PAGE: Final = 1_000
# The page for people has the same path.
VARY: Final = ("vary", "accept")
# `email_address` and `device_key` check these.
_check_enter = compile_check(draw_pb2.EnterRequest, apart_from=("email", "device.public_key"))
_check_withdraw = compile_check(draw_pb2.WithdrawRequest)


class DrawServicer:
    """Serves `vyris.draw.v1.DrawService`."""

    def __init__(self, engine: DrawEngine, drops: DropDirectory, proven: ProvenKeys) -> None:
        self._engine = engine
        self._drops = drops
        self._proven = proven

    async def enter(self, request: draw_pb2.EnterRequest, call: Call) -> draw_pb2.EnterResponse | VyrisError:
        """POST /drops/{tier}/{year}/entries. Returns or raises the errors that the proto lists, and Retryable."""
        _check_enter(request)
        refuse_nul(request.app_transaction, request.email)
        if request.email:
            email_address(request.email)
        device = device_key(request)
        user_id = request.user_id
        drop = await self._draw(request.tier, request.year)
        call.require_user(user_id)
        keys = await self._proven.digest(drop, await self._proven.verify(request, device, drop, call))
        entered = await self._engine.enter(drop, EntryOrder(user_id, keys), call.remaining_s)
        if isinstance(entered, VyrisError):
            return entered
        taken, promise = entered
        entry = draw_pb2.Entry(
            id=str(taken.id),
            salt=taken.salt.hex(),
            leaf_hash=taken.leaf_hash.hex(),
            entered_at=rfc3339(taken.entered_at),
        )
        return draw_pb2.EnterResponse(status="ENTERED", entry=entry, promise=promise, replayed=taken.replayed)

    async def withdraw(self, request: draw_pb2.WithdrawRequest, call: Call) -> draw_pb2.WithdrawResponse:
        """Raises InvalidRequest, NotFound, Unauthorized, DropNotOpen, Retryable."""
        _check_withdraw(request)
        entry = await self._entry(request.entry_id)
        call.require_user(request.user_id)
        if entry["user_id"] != request.user_id:
            raise _unknown()
        if entry["withdrawn_at"] is None and not await self._engine.withdraw(entry["id"]):
            entry = await self._entry(request.entry_id)
            if entry["withdrawn_at"] is None:
                raise DropNotOpen("Entries for this draw are closed")
        return draw_pb2.WithdrawResponse(status="WITHDRAWN")

    async def get_entry(self, request: draw_pb2.GetEntryRequest, call: Call) -> draw_pb2.GetEntryResponse:
        """Raises NotFound, Retryable."""
        row = await self._entry(request.entry_id)
        is_withdrawn = row["withdrawn_at"] is not None
        entry = draw_pb2.EntryStatus(
            id=str(row["id"]),
            tier=row["tier"],
            year=row["year"],
            state="WITHDRAWN" if is_withdrawn else "ENTERED",
            salt=(row["salt"] or b"").hex(),
            leaf_hash=row["leaf_hash"].hex(),
            entered_at=rfc3339(row["entered_at"]),
        )
        if row["is_published"] and not is_withdrawn:
            tree = await self._engine.watch.tree(row["drop_id"])
            index = tree.index_of(row["leaf_hash"])
            if index is not None:
                entry.leaf_index = index
                entry.proof.extend(one.hex() for one in tree.proof(index))
        if row["rank"] is not None:
            entry.rank = row["rank"]
            entry.key = order_key(row["seed"], row["leaf_hash"]).hex()
        if row["hold_id"] is not None:
            entry.offer.CopyFrom(
                draw_pb2.Offer(
                    hold_id=str(row["hold_id"]),
                    number=row["sequence_num"],
                    wave=row["wave"],
                    state=row["hold_state"],
                    expires_at=rfc3339(row["expires_at"]),
                )
            )
        return draw_pb2.GetEntryResponse(entry=entry)

    async def get_draw(self, request: draw_pb2.GetDrawRequest, call: Call) -> draw_pb2.GetDrawResponse:
        """Raises InvalidRequest, NotFound, Retryable."""
        document = await self._engine.watch.read(await self._draw(request.tier, request.year))
        await call.answer_headers(("etag", document.etag), VARY)
        return document.message

    async def list_leaves(self, request: draw_pb2.ListLeavesRequest, call: Call) -> draw_pb2.ListLeavesResponse:
        """Raises InvalidRequest, NotFound, Retryable."""
        leaves = draw_pb2.ListLeavesResponse(leaves=await self._leaves(request, "tree"))
        await call.answer_headers(("etag", etag_of(leaves)))
        return leaves

    async def list_withdrawn(
        self, request: draw_pb2.ListWithdrawnRequest, call: Call
    ) -> draw_pb2.ListWithdrawnResponse:
        """Raises InvalidRequest, NotFound, Retryable."""
        leaves = draw_pb2.ListWithdrawnResponse(leaves=await self._leaves(request, "withdrawn"))
        await call.answer_headers(("etag", etag_of(leaves)))
        return leaves

    async def list_offers(self, request: draw_pb2.ListOffersRequest, call: Call) -> draw_pb2.ListOffersResponse:
        """Raises InvalidRequest, NotFound, Retryable."""
        drop = await self._draw(request.tier, request.year)
        rows: list[asyncpg.Record] = []
        if 0 <= request.page < PAGES_LIMIT:
            rows = await self._engine.offers(drop, request.page * OFFERS_A_PAGE + 1, OFFERS_A_PAGE)
        if not rows:
            raise NotFound("There is no such page")
        offers = [
            draw_pb2.RankOffer(
                rank=row["rank"], leaf_hash=row["leaf_hash"].hex(), number=row["number"], wave=row["wave"]
            )
            for row in rows
        ]
        page = draw_pb2.ListOffersResponse(offers=offers)
        await call.answer_headers(("etag", etag_of(page)))
        return page

    async def _leaves(
        self, request: draw_pb2.ListLeavesRequest | draw_pb2.ListWithdrawnRequest, kind: str
    ) -> list[str]:
        drop = await self._draw(request.tier, request.year)
        page = None
        if 0 <= request.page < PAGES_LIMIT:
            page = await self._engine.leaf_page(drop, kind, request.page)
        if page is None:
            raise NotFound(f"There is no such page: each has {LEAVES_A_PAGE} leaves, once the root is public")
        return [one.hex() for one in leaves_of([page])]

    async def _draw(self, tier: str, year: str) -> Drop:
        """A drop that sells by a draw. Raises InvalidRequest, NotFound, Retryable."""
        drop = await self._drops.named(*drop_name(tier, year))
        if drop.sale != "draw":
            raise NotFound("This drop sells without a draw")
        return drop

    async def _entry(self, entry_id: str) -> asyncpg.Record:
        row = await self._engine.find(known_uuid(entry_id, _unknown()))
        if row is None:
            raise _unknown()
        return row


def _unknown() -> NotFound:
    return NotFound("There is no such entry")
