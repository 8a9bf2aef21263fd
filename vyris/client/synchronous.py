"""The client for synchronous code. `tools.synchronous_client` makes it of `asynchronous.py`: edit that."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message

from vyris.client import asks
from vyris.client.asks import Ask, Bearer, DropName
from vyris.client.connection import TIMEOUT_S, Headers, Tls, exchange, open_channel
from vyris.client.device import Device
from vyris.client.draw import Draw
from vyris.client.failures import to_vyris_error
from vyris.client.wallet_pass import WalletPass, wallet_pass
from vyris.draw.v1 import draw_pb2
from vyris.encounter.v1 import encounter_pb2
from vyris.holds.v1 import holds_pb2
from vyris.mint.v1 import mint_pb2
from vyris.reforge.v1 import reforge_pb2

A = TypeVar("A", bound=Message)


class Client:
    """Calls the suite over the gateway's native gRPC.

    `Client` blocks, and threads may share one. `AsyncClient` has the same methods as coroutines; use one in the event
    loop in which it was made.

    A failed call raises a class of `vyris.errors`. Each method lists its errors; in addition, every method can raise
    `Retryable` (the call did not finish; sending it again is safe) and `RateLimited`. Parameters of every method:
    `timeout_s` limits the call with its retries, in seconds (None: the client's limit). `request_id` identifies the
    call in the servers' logs, printable ASCII (None: a random UUID).
    """

    def __init__(
        self,
        target: str,
        *,
        tls: Tls | bool = False,
        bearer: Bearer | None = None,
        timeout_s: float = TIMEOUT_S,
        options: tuple[tuple[str, Any], ...] = (),
    ) -> None:
        """`target`: `host:port` of the gateway's native gRPC.

        `tls`: True trusts the system's authorities; a `Tls` sets its own certificates; False is plain text. `bearer`:
        the user's token if the servers need one (`USER_JWT_ISSUER`), or a function that returns it. `timeout_s`: time
        limit of one call with its retries, in seconds. `options`: gRPC channel options, appended to the client's.
        Raises ValueError if `target` is a URL.
        """
        self._channel = open_channel(target, tls, options)
        self._bearer = bearer
        self._timeout_s = timeout_s

    def __enter__(self) -> Self:
        """Return the client. It connects at the first call."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Cancel calls in flight and disconnect."""
        self._channel.close()

    def mint(
        self,
        receipt_data: str,
        user_id: str,
        *,
        email: str = "",
        drop: DropName | None = None,
        device: Device | None = None,
        original_transaction_id: str = "",
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> mint_pb2.MintResponse:
        """Turn a receipt into a membership, once. The same receipt from the same user gets the same membership again.

        `receipt_data`: proof of purchase, 1 to 49,152 bytes of UTF-8. `user_id`: the buyer's id, 1 to 128 printable
        ASCII characters. `email`: the owner's address, at most 254 ASCII characters. `drop`: tier and year; None: the
        configured drop. `device`: the device to enrol; it signs the request. `original_transaction_id`: the purchase's
        id at its store, at most 1,024 bytes; it must match the receipt.

        Returns the membership, and `replayed`: whether the receipt was fulfilled before. Raises SoldOut, HeldOut,
        HoldExpired, HoldRequired, LimitReached, ReceiptUsed, InvalidReceipt, DropNotOpen, NotFound, InvalidRequest,
        Unauthorized.
        """
        return self._send(
            asks.mint(receipt_data, user_id, email, drop, device, original_transaction_id), timeout_s, request_id
        )

    def get_drop(
        self,
        tier: str,
        year: str,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> mint_pb2.GetDropResponse:
        """Read a drop's state; it is at most one second old.

        `tier`: 1 to 32 characters of a-z, 0-9 and -. `year`: 2000 to 2100. Raises NotFound, InvalidRequest.
        """
        return self._send(asks.get_drop(tier, year), timeout_s, request_id)

    def watch_drop(
        self,
        tier: str,
        year: str,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Iterator[mint_pb2.GetDropResponse]:
        """Stream a drop's state: at once, and then after each change, at most once a second.

        `tier`, `year`: as in `get_drop`. `timeout_s`: ends the stream, with Retryable; None: it has no end. Raises
        NotFound, InvalidRequest.
        """
        ask = asks.watch_drop(tier, year)
        name = request_id or str(uuid.uuid4())
        send = self._channel.unary_stream(
            ask.path,
            request_serializer=type(ask.request).SerializeToString,
            response_deserializer=ask.answer.FromString,
        )
        call = send(ask.request, timeout=timeout_s, metadata=ask.metadata(name, self._bearer))
        try:
            for message in call:
                yield message.drop
        except grpc.RpcError as failure:
            raise to_vyris_error(failure, name) from failure
        finally:
            call.cancel()

    def take_hold(
        self,
        tier: str,
        year: str,
        user_id: str,
        *,
        device: Device | None = None,
        app_transaction: str = "",
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> holds_pb2.TakeHoldResponse:
        """Reserve a number for a user who pays. The same user gets the same hold again.

        `tier`, `year`: as in `get_drop`. `user_id`: the buyer's id, as in `mint`. `device`: counts in a drop that
        limits devices; it signs the request. `app_transaction`: an AppTransaction signed by the App Store (JWS), at
        most 49,152 bytes; counts in a drop that limits store accounts.

        Returns the hold, and `replayed`: whether the user had it before. Raises HeldOut, SoldOut, DropNotOpen,
        LimitReached, NotOffered, Unauthorized, NotFound, InvalidRequest.
        """
        return self._send(asks.take_hold(tier, year, user_id, device, app_transaction), timeout_s, request_id)

    def release_hold(
        self, hold_id: str, user_id: str, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> None:
        """Give a hold's number back. Repeating it changes nothing.

        `hold_id`: UUID. `user_id`: the hold's owner. Raises HoldExpired, Unauthorized, NotFound, InvalidRequest.
        """
        self._send(asks.release_hold(hold_id, user_id), timeout_s, request_id)

    def extend_hold(
        self, hold_id: str, user_id: str, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> holds_pb2.Hold:
        """Extend a hold by one more period.

        `hold_id`: UUID. `user_id`: the hold's owner. Returns the hold with its new `expires_at` (RFC 3339). Raises
        LimitReached, HoldExpired, Unauthorized, NotFound, InvalidRequest.
        """
        answer = self._send(asks.extend_hold(hold_id, user_id), timeout_s, request_id)
        return answer.hold

    def get_hold(
        self, hold_id: str, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> holds_pb2.HoldStatus:
        """Read a hold's state: `HELD`, `USED` (then with its `membership_id`), `RELEASED` or `LAPSED`.

        `hold_id`: UUID. Raises NotFound.
        """
        answer = self._send(asks.get_hold(hold_id), timeout_s, request_id)
        return answer.hold

    def enter(
        self,
        tier: str,
        year: str,
        user_id: str,
        *,
        email: str = "",
        device: Device | None = None,
        app_transaction: str = "",
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> draw_pb2.EnterResponse:
        """Enter a user into a draw. The same user gets the same entry again, with `replayed`.

        `tier`, `year`: as in `get_drop`. `user_id`: the entrant's id, as in `mint`. `email`: at most 254 characters;
        only its form is checked. `device`, `app_transaction`: as in `take_hold`.

        Returns the entry with its salt, and the signed promise. Keep both: the result is computed from the entry, and
        the promise proves that the draw accepted it. Raises DropNotOpen, LimitReached, Unauthorized, NotFound,
        InvalidRequest.
        """
        ask = asks.enter(tier, year, user_id, email, device, app_transaction)
        return self._send(ask, timeout_s, request_id)

    def withdraw(
        self, entry_id: str, user_id: str, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> None:
        """Withdraw an entry before entries close.

        `entry_id`: UUID. `user_id`: the entry's owner. Raises DropNotOpen, Unauthorized, NotFound, InvalidRequest.
        """
        self._send(asks.withdraw(entry_id, user_id), timeout_s, request_id)

    def get_entry(
        self, entry_id: str, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> draw_pb2.EntryStatus:
        """Read an entry's state: `ENTERED` or `WITHDRAWN`; after the draw with its rank, and its offer if there is one.

        `entry_id`: UUID. Raises NotFound.
        """
        answer = self._send(asks.get_entry(entry_id), timeout_s, request_id)
        return answer.entry

    def get_draw(self, tier: str, year: str, *, timeout_s: float | None = None, request_id: str | None = None) -> Draw:
        """Read a draw's document, at most one second old. `Draw.result(entry)` computes the result of an entry.

        Raises NotFound.
        """
        return Draw(self._send(asks.get_draw(tier, year), timeout_s, request_id))

    def issue_pass(
        self,
        membership_id: str,
        user_id: str,
        *,
        device: Device | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> WalletPass:
        """Get the membership's signed pass for Apple Wallet.

        `membership_id`: UUID. `user_id`: the owner's id. `device`: the enrolled device, if there is one; it signs the
        request. Returns the `.pkpass`. Raises Unauthorized, NotFound, InvalidRequest.
        """
        return wallet_pass(*self._exchange(asks.issue_pass(membership_id, user_id, device), timeout_s, request_id))

    def issue_google_pass(
        self,
        membership_id: str,
        user_id: str,
        *,
        device: Device | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> str:
        """Get a link that saves the membership's card to Google Wallet.

        Parameters as in `issue_pass`. Returns an https URL for the owner only. Raises Unauthorized, InvalidRequest,
        NotFound (also if Google Wallet is not configured).
        """
        answer = self._send(asks.issue_google_pass(membership_id, user_id, device), timeout_s, request_id)
        return answer.save_url

    def verify_encounter(
        self,
        token: str,
        *,
        device: Device | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> encounter_pb2.Encounter:
        """Record the encounter that a signed token proves. A token works once.

        `token`: compact ES256 JWS (RFC 7515), at most 8 KiB. `device`: the receiver's device, for a token that the
        initiator's device signed; it signs the request.

        Returns the recorded encounter. Raises Unauthorized, Conflict, InvalidRequest. After Retryable, a repetition may
        raise Conflict: then the first call recorded the encounter.
        """
        answer = self._send(asks.verify_encounter(token, device), timeout_s, request_id)
        return answer.encounter

    def list_encounters(
        self,
        membership_id: str,
        device: Device,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> encounter_pb2.ListEncountersResponse:
        """Read one page of a membership's encounters, newest first.

        `membership_id`: UUID. `device`: the membership's device; it signs the request. `page_size`: 1 to 100; 0 means
        50. `page_token`: `next_page_token` of the page before; empty for the first page. Raises Unauthorized, NotFound,
        InvalidRequest.
        """
        return self._send(asks.list_encounters(membership_id, device, page_size, page_token), timeout_s, request_id)

    def encounters(self, membership_id: str, device: Device) -> Iterator[encounter_pb2.Encounter]:
        """Read all encounters of a membership, newest first, page by page.

        Parameters and errors as in `list_encounters`.
        """
        page_token = ""
        while True:
            page = self.list_encounters(membership_id, device, page_token=page_token)
            for encounter in page.encounters:
                yield encounter
            page_token = page.next_page_token
            if not page_token:
                return

    def init_reforge(
        self,
        membership_id: str,
        user_id: str,
        new_device: Device,
        *,
        old_device: Device | None = None,
        old_device_id: str = "",
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> reforge_pb2.InitReforgeResponse:
        """Ask to move a membership to `new_device`. The owner gets a mail with a link that confirms it.

        `membership_id`: UUID. `user_id`: the owner's id. `old_device`: the enrolled device, if you have it; it signs
        the request. `old_device_id`: the enrolled device's id, if you do not.

        Returns the request's id, its expiry (RFC 3339), and a `confirmation_code` of six digits if the confirmation
        needs one. Raises Unauthorized, NotFound, InvalidRequest, RateLimited.
        """
        return self._send(
            asks.init_reforge(membership_id, user_id, new_device, old_device, old_device_id), timeout_s, request_id
        )

    def confirm_reforge(
        self,
        token: str,
        *,
        confirmation_code: str = "",
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> reforge_pb2.ConfirmReforgeResponse:
        """Confirm the move that a mailed link's token belongs to. A token works once.

        `confirmation_code`: the six digits on the new device, if the request has a code. Raises NotFound, Expired,
        InvalidRequest, Unauthorized. After Retryable, `get_reforge(token=…)` returns whether the membership has moved.
        """
        return self._send(asks.confirm_reforge(token, confirmation_code), timeout_s, request_id)

    def get_reforge(
        self,
        *,
        reforge_id: str = "",
        token: str = "",
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> reforge_pb2.GetReforgeResponse:
        """Read the state of a request to move a membership, by exactly one of `reforge_id` (UUID) and `token`.

        Raises NotFound, InvalidRequest.
        """
        return self._send(asks.get_reforge(reforge_id, token), timeout_s, request_id)

    def refuse_reforge(
        self,
        *,
        reforge_id: str = "",
        token: str = "",
        membership_id: str = "",
        device: Device | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> None:
        """Refuse a pending request to move a membership. Name it by exactly one of the three.

        `token`: the link's token; needs no device. `reforge_id`: the request's UUID. `membership_id`: the membership's
        UUID, for its newest pending request. `device`: the active device; it signs the request. Raises Unauthorized,
        NotFound, Expired, InvalidRequest.
        """
        self._send(asks.refuse_reforge(reforge_id, token, membership_id, device), timeout_s, request_id)

    def undo_reforge(
        self,
        *,
        reforge_id: str = "",
        token: str = "",
        membership_id: str = "",
        device: Device | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> None:
        """Undo a confirmed move. Name it by exactly one of the three.

        `token`: the token in the notice's link; needs no device. `reforge_id`: the request's UUID. `membership_id`: the
        membership's UUID, for the newest move away from `device`. `device`: the old device; it signs the request.
        Raises Unauthorized, NotFound, Expired, InvalidRequest.
        """
        self._send(asks.undo_reforge(reforge_id, token, membership_id, device), timeout_s, request_id)

    def change_email(
        self,
        membership_id: str,
        user_id: str,
        email: str,
        device: Device,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> reforge_pb2.ChangeEmailResponse:
        """Ask for another e-mail address of the owner. The new address must confirm it, and the old one can refuse it.

        `membership_id`: UUID. `user_id`: the owner's id. `email`: at most 254 ASCII characters. `device`: the active
        device; it signs the request. Returns the time at which the change takes effect (RFC 3339). Raises Unauthorized,
        NotFound, Conflict, InvalidRequest, RateLimited.
        """
        return self._send(asks.change_email(membership_id, user_id, email, device), timeout_s, request_id)

    def refuse_email_change(
        self,
        membership_id: str,
        device: Device,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> None:
        """Refuse the open change of address that a device asked for.

        `membership_id`: UUID. `device`: the active device; it signs the request. Raises Unauthorized, NotFound,
        InvalidRequest.
        """
        self._send(asks.refuse_email_change(membership_id, device), timeout_s, request_id)

    def list_moves(
        self,
        membership_id: str,
        device: Device,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> reforge_pb2.ListMovesResponse:
        """List a membership's newest moves and changes of address, at most 50 each, so that an app can warn its owner.

        `membership_id`: UUID. `device`: the active device, or a previous one while the move away from it can be undone;
        it signs the request. Raises Unauthorized, NotFound, InvalidRequest.
        """
        return self._send(asks.list_moves(membership_id, device), timeout_s, request_id)

    def _send(self, ask: Ask[A], timeout_s: float | None, request_id: str | None) -> A:
        answer, _ = self._exchange(ask, timeout_s, request_id)
        return answer

    def _exchange(self, ask: Ask[A], timeout_s: float | None, request_id: str | None) -> tuple[A, Headers]:
        name = request_id or str(uuid.uuid4())
        method = self._channel.unary_unary(
            ask.path,
            request_serializer=type(ask.request).SerializeToString,
            response_deserializer=ask.answer.FromString,
        )
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            return exchange(method, ask.request, limit_s, ask.metadata(name, self._bearer))
        except grpc.RpcError as failure:
            raise to_vyris_error(failure, name) from failure
