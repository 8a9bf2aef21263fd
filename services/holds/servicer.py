"""The hold service's RPCs."""

from __future__ import annotations

from typing import Final, Protocol
from uuid import UUID

import asyncpg

from services.device_proof import DeviceProofs, claimed_proof
from services.holds.engine import HoldEngine
from services.holds.proven_device import proven_thumbprint
from services.holds.register import HoldOrder
from services.limits import PersonKeys, mailbox
from services.mint.drops import DropDirectory
from services.runtime.call import Call
from services.runtime.fields import drop_name, is_longer, known_uuid, opaque_id, refuse_nul
from services.runtime.times import rfc3339
from vyris.errors import HoldExpired, InvalidRequest, LimitReached, NotFound, NotOffered, VyrisError
from vyris.holds.v1 import holds_pb2

APP_TRANSACTION_LIMIT_BYTES: Final = 49_152
HELD: Final = "HELD"


class StoreAccounts(Protocol):
    """Proves which store account an AppTransaction is of."""

    async def account(self, signed: str) -> str:
        """Its id. Raises Unauthorized, Retryable."""


class HoldServicer:
    """Serves `vyris.holds.v1.HoldService`."""

    def __init__(
        self,
        engine: HoldEngine,
        drops: DropDirectory,
        keys: PersonKeys,
        proofs: DeviceProofs,
        accounts: StoreAccounts | None = None,
    ) -> None:
        """`accounts` is None where no app is configured: then no store account counts."""
        self._accounts = accounts
        self._engine = engine
        self._drops = drops
        self._keys = keys
        self._proofs = proofs

    async def take_hold(
        self, request: holds_pb2.TakeHoldRequest, call: Call
    ) -> holds_pb2.TakeHoldResponse | VyrisError:
        """Returns or raises what `fair-drops.md` says of POST /drops/{tier}/{year}/holds."""
        name = drop_name(request.tier, request.year)
        user_id = opaque_id("user_id", request.user_id)
        refuse_nul(request.app_transaction)
        if is_longer(request.app_transaction, APP_TRANSACTION_LIMIT_BYTES):
            raise InvalidRequest(f"app_transaction must be at most {APP_TRANSACTION_LIMIT_BYTES} bytes")
        drop = await self._drops.named(*name)
        if drop.sale == "direct":
            raise NotFound("This drop sells without holds")
        call.require_user(user_id)
        proven = {"user": user_id}
        if request.HasField("device"):
            device = request.device
            thumbprint = proven_thumbprint(
                device.device_id, device.public_key, claimed_proof(call, request), self._proofs
            )
            if thumbprint is not None:
                proven["device"] = thumbprint
        proven |= await self._proven_beside(request, drop.limits, call)
        if drop.sale == "draw":
            raise NotOffered()
        keys = await self._keys.of(drop.id, drop.limits, proven)
        taken = await self._engine.take(drop, HoldOrder(user_id, keys), call.remaining_s)
        if isinstance(taken, VyrisError):
            return taken
        hold = holds_pb2.Hold(id=str(taken.id), tier=drop.tier, year=drop.year, expires_at=rfc3339(taken.expires_at))
        return holds_pb2.TakeHoldResponse(status=HELD, hold=hold, replayed=taken.replayed)

    async def _proven_beside(
        self, request: holds_pb2.TakeHoldRequest, limits: frozenset[str], call: Call
    ) -> dict[str, str]:
        """Store account and mailbox, where the drop counts them and they are proven."""
        proven = {}
        if "store_account" in limits and request.app_transaction and self._accounts is not None:
            proven["store_account"] = await self._accounts.account(request.app_transaction)
        if "email" in limits and call.identity is not None:
            address = mailbox(call.identity.verified_email)
            if address is not None:
                proven["email"] = address
        return proven

    async def release_hold(self, request: holds_pb2.ReleaseHoldRequest, call: Call) -> holds_pb2.ReleaseHoldResponse:
        """Raises InvalidRequest, NotFound, Unauthorized, HoldExpired, Retryable."""
        hold = await self._own(request.hold_id, request.user_id, call)
        if hold["state"] != "RELEASED" and not await self._engine.release(hold["id"]):
            hold = await self._read(request.hold_id)
            if hold["state"] != "RELEASED":
                raise HoldExpired()
        return holds_pb2.ReleaseHoldResponse(status="RELEASED")

    async def extend_hold(self, request: holds_pb2.ExtendHoldRequest, call: Call) -> holds_pb2.ExtendHoldResponse:
        """Raises InvalidRequest, NotFound, Unauthorized, LimitReached, HoldExpired, Retryable."""
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
        """A hold of the caller's. A hold of somebody else is answered as one that does not exist."""
        opaque_id("user_id", user_id)
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


def _unknown() -> NotFound:
    return NotFound("There is no such hold")
