"""The hold service's RPCs."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

import asyncpg

from services.holds.engine import HoldEngine
from services.holds.proven_device import device_key
from services.holds.proven_keys import ProvenKeys
from services.holds.register import HoldOrder
from services.mint.drops import Drop, DropDirectory
from services.server.runtime.call import Call
from services.server.runtime.fields import known_uuid, refuse_nul
from services.server.runtime.request_checks import compile_check
from services.server.runtime.times import rfc3339
from vyris.errors import HoldExpired, LimitReached, NotFound, VyrisError
from vyris.holds.v1 import holds_pb2

HELD: Final = "HELD"
# `device_key` checks the key.
_check_take = compile_check(holds_pb2.TakeHoldRequest, apart_from=("device.public_key",))
_check_release = compile_check(holds_pb2.ReleaseHoldRequest)
_check_extend = compile_check(holds_pb2.ExtendHoldRequest)


class DrawOffers(Protocol):
    """Finds the offers of a draw."""

    async def find_offer(self, drop: Drop, user_id: str) -> asyncpg.Record | VyrisError:
        """The hold of a user's live offer (`id`, `expires_at`), or NotOffered. Raises NotFound, Retryable."""


class HoldServicer:
    """Serves `vyris.holds.v1.HoldService`."""

    def __init__(self, engine: HoldEngine, drops: DropDirectory, proven: ProvenKeys, offers: DrawOffers) -> None:
        self._engine = engine
        self._drops = drops
        self._proven = proven
        self._offers = offers

    async def take_hold(
        self, request: holds_pb2.TakeHoldRequest, call: Call
    ) -> holds_pb2.TakeHoldResponse | VyrisError:
        """POST /drops/{tier}/{year}/holds. Returns or raises the errors that the proto lists, and Retryable."""
        _check_take(request)
        refuse_nul(request.app_transaction)
        device = device_key(request)
        user_id = request.user_id
        drop = await self._drops.named(request.tier, request.year)
        if drop.sale == "direct":
            raise NotFound("This drop sells without holds")
        call.require_user(user_id)
        proven = await self._proven.verify(request, device, drop, call)
        if drop.sale == "draw":
            offer = await self._offers.find_offer(drop, user_id)
            if isinstance(offer, VyrisError):
                return offer
            return _answer_held(drop, offer["id"], offer["expires_at"], replayed=True)
        keys = await self._proven.digest(drop, proven)
        taken = await self._engine.take(drop, HoldOrder(user_id, keys), call.remaining_s)
        if isinstance(taken, VyrisError):
            return taken
        return _answer_held(drop, taken.id, taken.expires_at, replayed=taken.replayed)

    async def release_hold(self, request: holds_pb2.ReleaseHoldRequest, call: Call) -> holds_pb2.ReleaseHoldResponse:
        """Raises InvalidRequest, NotFound, Unauthorized, HoldExpired, Retryable."""
        _check_release(request)
        hold = await self._own(request.hold_id, request.user_id, call)
        if hold["state"] != "RELEASED" and not await self._engine.release(hold["id"]):
            hold = await self._read(request.hold_id)
            if hold["state"] != "RELEASED":
                raise HoldExpired()
        return holds_pb2.ReleaseHoldResponse(status="RELEASED")

    async def extend_hold(self, request: holds_pb2.ExtendHoldRequest, call: Call) -> holds_pb2.ExtendHoldResponse:
        """Raises InvalidRequest, NotFound, Unauthorized, LimitReached, HoldExpired, Retryable."""
        _check_extend(request)
        hold = await self._own(request.hold_id, request.user_id, call)
        expires_at = await self._engine.extend(hold["id"])
        if expires_at is None:
            hold = await self._read(request.hold_id)
            if hold["state"] == HELD and hold["extensions"] >= hold["hold_extensions"]:
                raise LimitReached("This hold was extended as often as the drop allows")
            raise HoldExpired()
        row = holds_pb2.Hold(id=str(hold["id"]), tier=hold["tier"], year=hold["year"], expires_at=rfc3339(expires_at))
        return holds_pb2.ExtendHoldResponse(status=HELD, hold=row, replayed=False)

    async def get_hold(self, request: holds_pb2.GetHoldRequest, call: Call) -> holds_pb2.GetHoldResponse:
        """Raises NotFound, Retryable."""
        hold = await self._read(request.hold_id)
        return holds_pb2.GetHoldResponse(
            hold=holds_pb2.HoldStatus(
                id=str(hold["id"]),
                tier=hold["tier"],
                year=hold["year"],
                state=hold["state"],
                expires_at=rfc3339(hold["expires_at"]),
                membership_id=str(hold["membership_id"] or ""),
            )
        )

    async def _own(self, hold_id: str, user_id: str, call: Call) -> asyncpg.Record:
        """Return the caller's hold. A hold of another user is answered as one that does not exist."""
        hold = await self._read(hold_id)
        call.require_user(user_id)
        if hold["user_id"] != user_id:
            raise _unknown()
        return hold

    async def _read(self, hold_id: str) -> asyncpg.Record:
        identity: UUID = known_uuid(hold_id, _unknown())
        hold = await self._engine.read(identity)
        if hold is None:
            raise _unknown()
        return hold


def _answer_held(drop: Drop, hold_id: UUID, expires_at: datetime, *, replayed: bool) -> holds_pb2.TakeHoldResponse:
    hold = holds_pb2.Hold(id=str(hold_id), tier=drop.tier, year=drop.year, expires_at=rfc3339(expires_at))
    return holds_pb2.TakeHoldResponse(status=HELD, hold=hold, replayed=replayed)


def _unknown() -> NotFound:
    return NotFound("There is no such hold")
