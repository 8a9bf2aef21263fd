"""The client for ordinary code."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message

from vyris.client import asks
from vyris.client.asks import Ask, Bearer, DropName
from vyris.client.connection import TIMEOUT_S, Tls, channel_options, credentials, native_target
from vyris.client.device import Device
from vyris.client.draw import Draw
from vyris.client.failures import told
from vyris.client.wallet_pass import WalletPass, wallet_pass
from vyris.draw.v1 import draw_pb2
from vyris.encounter.v1 import encounter_pb2
from vyris.holds.v1 import holds_pb2
from vyris.mint.v1 import mint_pb2
from vyris.reforge.v1 import reforge_pb2

A = TypeVar("A", bound=Message)


class Client:
    """Calls the suite at `target` (`host:port` of the gateway's native gRPC). May be shared between threads.

    Every method raises the errors of `vyris.errors` that the contract names for its call, and `Retryable` for what
    did not finish. `timeout_s` bounds one call, repetitions included; `request_id` is what the servers' logs call it.
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
        """`tls` True trusts the system's authorities; `options` are gRPC's own, after the client's.

        `bearer` is the user's token where the servers want one (`USER_JWT_ISSUER`), or a function that hands it out.
        """
        target = native_target(target)
        chosen = [*channel_options(), *options]
        secret = credentials(tls)
        self._channel = (
            grpc.insecure_channel(target, chosen) if secret is None else grpc.secure_channel(target, secret, chosen)
        )
        self._bearer = bearer
        self._timeout_s = timeout_s

    def __enter__(self) -> Self:
        """Connects when the first call is made."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Cancel what is under way and disconnect."""
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
        """Turn a receipt into a membership, once; sent again, it answers with the same one.

        `device` is enrolled, and signs the request.
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
        """What a drop holds, at most one second old."""
        return self._send(asks.get_drop(tier, year), timeout_s, request_id)

    def watch_drop(
        self,
        tier: str,
        year: str,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Iterator[mint_pb2.GetDropResponse]:
        """The drop at once, then whenever it changed, at most once a second; without end unless `timeout_s` is set."""
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
            raise told(failure, name) from failure
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
        """Keep a number for a user while he pays; asked again, it answers with the same hold. `device` signs."""
        return self._send(asks.take_hold(tier, year, user_id, device, app_transaction), timeout_s, request_id)

    def release_hold(
        self, hold_id: str, user_id: str, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> None:
        """Give a hold's number back."""
        self._send(asks.release_hold(hold_id, user_id), timeout_s, request_id)

    def extend_hold(
        self, hold_id: str, user_id: str, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> holds_pb2.Hold:
        """Prolong a hold by one more period."""
        return self._send(asks.extend_hold(hold_id, user_id), timeout_s, request_id).hold

    def get_hold(
        self, hold_id: str, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> holds_pb2.HoldStatus:
        """What became of a hold."""
        return self._send(asks.get_hold(hold_id), timeout_s, request_id).hold

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
        """Enter a user into a draw; asked again, it answers with the same entry. `device` signs.

        Keep the answer: with the entry the result is computed, and the promise proves that it was taken.
        """
        ask = asks.enter(tier, year, user_id, email, device, app_transaction)
        return self._send(ask, timeout_s, request_id)

    def withdraw(
        self, entry_id: str, user_id: str, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> None:
        """Take an entry back, until entries close."""
        self._send(asks.withdraw(entry_id, user_id), timeout_s, request_id)

    def get_entry(
        self, entry_id: str, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> draw_pb2.EntryStatus:
        """What became of an entry."""
        return self._send(asks.get_entry(entry_id), timeout_s, request_id).entry

    def get_draw(self, tier: str, year: str, *, timeout_s: float | None = None, request_id: str | None = None) -> Draw:
        """The draw's one document, at most one second old; `Draw.result(entry)` says what it means for an entry."""
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
        """The membership's signed pass; `device` signs where one is enrolled."""
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
        """A link that saves the membership's card to Google Wallet."""
        return self._send(asks.issue_google_pass(membership_id, user_id, device), timeout_s, request_id).save_url

    def verify_encounter(
        self,
        token: str,
        *,
        device: Device | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> encounter_pb2.Encounter:
        """Record the encounter that `token` proves, once. `device` is the receiver's, for tokens that a device signed.

        After `Retryable`, sending it again may answer `Conflict`: then the first one was recorded.
        """
        return self._send(asks.verify_encounter(token, device), timeout_s, request_id).encounter

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
        """A page of a membership's encounters, newest first; `device` holds the membership."""
        return self._send(asks.list_encounters(membership_id, device, page_size, page_token), timeout_s, request_id)

    def encounters(self, membership_id: str, device: Device) -> Iterator[encounter_pb2.Encounter]:
        """All of a membership's encounters, newest first, fetched page by page."""
        page_token = ""
        while True:
            page = self.list_encounters(membership_id, device, page_token=page_token)
            yield from page.encounters
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
        """Ask to move a membership to `new_device`; a link goes to the owner's mailbox.

        `old_device`, where it is at hand, signs; else `old_device_id` names the one that is enrolled.
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
        """Carry out what the mailed link's token names, once.

        After `Retryable`, `get_reforge(token=…)` tells whether it happened.
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
        """What became of a request, named by exactly one of the two."""
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
        """Say no to a pending request: by the link's `token`, or with the enrolled `device` by `reforge_id`.

        `membership_id` in place of `reforge_id` means the newest pending request.
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
        """Take a move back: by the notice's `token`, or with the old `device` by `reforge_id`.

        `membership_id` in place of `reforge_id` means the newest move away from `device`.
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
        """Ask to change where the owner can be reached, by the enrolled `device`.

        It waits: the new address confirms it by a link, the old one can refuse it.
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
        """Take back a change of address that a device asked for, by the enrolled `device`."""
        self._send(asks.refuse_email_change(membership_id, device), timeout_s, request_id)

    def list_moves(
        self,
        membership_id: str,
        device: Device,
        *,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> reforge_pb2.ListMovesResponse:
        """What happens to a membership, so that an app can warn its owner.

        `device` holds the membership, or held it before a move that can still be taken back.
        """
        return self._send(asks.list_moves(membership_id, device), timeout_s, request_id)

    def _send(self, ask: Ask[A], timeout_s: float | None, request_id: str | None) -> A:
        answer, _ = self._exchange(ask, timeout_s, request_id)
        return answer

    def _exchange(
        self, ask: Ask[A], timeout_s: float | None, request_id: str | None
    ) -> tuple[A, list[tuple[str, str | bytes]]]:
        name = request_id or str(uuid.uuid4())
        send = self._channel.unary_unary(
            ask.path,
            request_serializer=type(ask.request).SerializeToString,
            response_deserializer=ask.answer.FromString,
        )
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            answer, call = send.with_call(ask.request, timeout=limit_s, metadata=ask.metadata(name, self._bearer))
        except grpc.RpcError as failure:
            raise told(failure, name) from failure
        return answer, list(call.initial_metadata())
