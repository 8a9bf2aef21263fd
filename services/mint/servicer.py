"""The mint service's RPCs: check the request, find its drop, verify its receipt, then let the engine mint."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

from services.identity.device_proof import claimed_proof
from services.limits import PersonKeys, mailbox
from services.mint.drop_watch import DropWatch, environment_mark
from services.mint.drops import Drop, DropDirectory
from services.mint.engine import MintEngine
from services.mint.enrolment import Enrolment
from services.mint.ledger import MintedMembership, MintOrder
from services.mint.mint_request import CheckedMintRequest, parse_mint_request
from services.mint.notifications import Notifications
from services.mint.receipts.verified import AnothersPurchase, DropName, ReceiptClaim, VerifiedReceipt
from services.mint.receipts.verifiers import ReceiptVerifiers
from services.server.runtime.call import Call
from services.server.runtime.fields import drop_name, known_uuid
from vyris.errors import InvalidReceipt, InvalidRequest, NotFound, ReceiptUsed, VyrisError
from vyris.mint.v1 import mint_pb2

NO_HOLD: Final = UUID(int=0)


class MintServicer:
    """Serves `vyris.mint.v1.MintService`."""

    def __init__(
        self,
        engine: MintEngine,
        drops: DropDirectory,
        verifiers: ReceiptVerifiers,
        enrolment: Enrolment,
        watch: DropWatch,
        notifications: Notifications,
        keys: PersonKeys,
        default_drop: tuple[str, str],
    ) -> None:
        self._engine = engine
        self._drops = drops
        self._verifiers = verifiers
        self._enrolment = enrolment
        self._watch = watch
        self._notifications = notifications
        self._keys = keys
        self._default_drop = default_drop

    async def mint(self, request: mint_pb2.MintRequest, call: Call) -> mint_pb2.MintResponse | VyrisError:
        """POST /mint. Returns or raises the errors that the proto lists, and Retryable."""
        asked = parse_mint_request(request)
        if asked.drop is not None:
            await self._drops.check_name(*asked.drop)
        call.require_user(asked.user_id)
        proof = self._enrolment.verify(asked.device, claimed_proof(call, request)) if asked.device else None
        receipt = await self._verify(ReceiptClaim(asked.receipt_data, asked.user_id, asked.original_transaction_id))
        await self._enrolment.require_fresh(proof, receipt.key)
        drop = await self._find_drop(asked.drop, receipt)
        order = MintOrder(receipt, asked.user_id, asked.email, asked.device)
        if drop.is_counted:
            order = await self._add_keys(order, drop, asked, call)
        answer = await self._engine.mint(drop, order, call.remaining_s)
        if isinstance(answer, VyrisError):
            return answer
        membership, replayed = answer
        if membership.drop_id != drop.id:  # a replay of a receipt that minted in another drop
            drop = await self._drops.numbered(membership.drop_id)
        return mint_pb2.MintResponse(status="FULFILLED", membership=_to_message(membership, drop), replayed=replayed)

    async def _verify(self, claim: ReceiptClaim) -> VerifiedReceipt:
        try:
            return await self._verifiers.verify(claim)
        except AnothersPurchase as refusal:
            # All other users get the same answer for a receipt that has minted, no matter which buyer it names.
            if await self._engine.minted_in(refusal.key) is not None:
                raise ReceiptUsed() from None
            raise

    async def _add_keys(self, order: MintOrder, drop: Drop, asked: CheckedMintRequest, call: Call) -> MintOrder:
        """Add the person keys that count in the drop, and the hold that the receipt names."""
        proven = {"user": asked.user_id}
        if asked.device is not None:  # its proof is verified
            proven["device"] = asked.device.thumbprint
        address = mailbox(call.identity.verified_email) if call.identity is not None else None
        if address is not None:
            proven["email"] = address
        if order.receipt.payer is not None:
            proven["payer"] = order.receipt.payer
        if order.receipt.store_account is not None:
            proven["store_account"] = order.receipt.store_account
        keys = await self._keys.of(drop.id, drop.limits, proven)
        named = order.receipt.hold
        return order._replace(keys=keys, hold_id=_named_hold(named) if named else None)

    async def _find_drop(self, asked: DropName | None, receipt: VerifiedReceipt) -> Drop:
        """The drop that the receipt buys: the one in the receipt, else the requested one, else the default."""
        if receipt.drop is not None and asked is not None and asked != receipt.drop:
            raise InvalidReceipt("This purchase is not for this product: it was made for another drop")
        if receipt.minted_in is not None:
            return await self._drops.numbered(receipt.minted_in)
        name = receipt.drop or asked or self._default_drop
        if receipt.environment == "production":
            return await self._drops.named(*name)
        try:
            return await self._drops.named(*name, receipt.environment)
        except NotFound:
            raise InvalidReceipt("This is a test purchase (sandbox), and this drop has no supply for those") from None

    async def notify_app_store(
        self, request: mint_pb2.NotifyAppStoreRequest, call: Call
    ) -> mint_pb2.NotifyAppStoreResponse:
        """Raises InvalidRequest, Unauthorized, Retryable."""
        return mint_pb2.NotifyAppStoreResponse(status=await self._notifications.app_store(request))

    async def notify_merchant(
        self, request: mint_pb2.NotifyMerchantRequest, call: Call
    ) -> mint_pb2.NotifyMerchantResponse:
        """Raises InvalidRequest, Unauthorized, Retryable."""
        return mint_pb2.NotifyMerchantResponse(status=await self._notifications.merchant(request))

    async def get_drop(self, request: mint_pb2.GetDropRequest, call: Call) -> mint_pb2.GetDropResponse:
        """Raises InvalidRequest, NotFound, Retryable."""
        return await self._watch.read(await self._requested_drop(request))

    async def watch_drop(
        self, request: mint_pb2.WatchDropRequest, call: Call
    ) -> AsyncIterator[mint_pb2.WatchDropResponse]:
        """Send the drop now, and after each change. Raises InvalidRequest, NotFound, Retryable."""
        drop = await self._requested_drop(request)
        async for seen in self._watch.changes(drop):
            yield mint_pb2.WatchDropResponse(drop=seen)

    async def _requested_drop(self, request: mint_pb2.GetDropRequest | mint_pb2.WatchDropRequest) -> Drop:
        name = drop_name(request.tier, request.year)
        match request.environment:
            case "" | "production":
                return await self._drops.named(*name)
            case "sandbox":
                return await self._drops.named(*name, "sandbox")
            case _:
                raise InvalidRequest("environment must be sandbox, or empty")


def _named_hold(name: str) -> UUID:
    """The hold that a receipt names. A name that is not a UUID names none, like an unknown one.

    It is no error here: a paid receipt is recorded first, so that it can be refunded.
    """
    try:
        return known_uuid(name)
    except NotFound:
        return NO_HOLD


def _to_message(membership: MintedMembership, drop: Drop) -> mint_pb2.Membership:
    return mint_pb2.Membership(
        id=membership.id,
        tier=drop.tier,
        year=drop.year,
        sequence_num=membership.sequence_num,
        pass_serial=membership.pass_serial,
        environment=environment_mark(drop.environment),
    )
