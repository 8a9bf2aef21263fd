"""The requests of both clients: each function builds one request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.message import Message

from vyris.client.device import Device
from vyris.device_proof import METADATA_KEY, build_proof, grpc_target
from vyris.draw.v1 import draw_pb2
from vyris.encounter.v1 import encounter_pb2
from vyris.holds.v1 import holds_pb2
from vyris.mint.v1 import mint_pb2
from vyris.reforge.v1 import reforge_pb2
from vyris.wallet.v1 import wallet_pb2

A = TypeVar("A", bound=Message)
DropName = tuple[str, str]
"""Tier and year."""
Metadata = tuple[tuple[str, str], ...]
Bearer = str | Callable[[], str]
"""A user's bearer token, or a function that returns a valid one. It is called before each call that needs a token."""

REQUEST_ID_KEY: Final = "x-request-id"
USER_FIELD: Final = "user_id"


@dataclass(frozen=True)
class Ask(Generic[A]):
    """One request, its method, the class of its answer, and the device that signs it, if any."""

    method: MethodDescriptor
    request: Message
    answer: type[A]
    signer: Device | None = None

    @property
    def path(self) -> str:
        """`/package.Service/Method`."""
        return grpc_target(self.method).htu

    def metadata(self, request_id: str, bearer: Bearer | None = None) -> Metadata:
        """Build the request's metadata: its id, a device proof if a device signs, and the user's token.

        Only requests with a `user_id` get the token. Raises ValueError if `request_id` is not printable ASCII.
        """
        if not request_id.isascii() or not request_id.isprintable():
            raise ValueError("a request id is printable ASCII")
        entries: Metadata = ((REQUEST_ID_KEY, request_id),)
        if self.signer is not None:
            entries += ((METADATA_KEY, build_proof(self.signer.key, self.request, grpc_target(self.method))),)
        if bearer is not None and USER_FIELD in self.request.DESCRIPTOR.fields_by_name:
            entries += (("authorization", f"Bearer {bearer if isinstance(bearer, str) else bearer()}"),)
        return entries


def _method(file: FileDescriptor, name: str) -> MethodDescriptor:
    service = next(iter(file.services_by_name.values()))
    return service.methods_by_name[name]


def mint(
    receipt_data: str, user_id: str, email: str, drop: DropName | None, device: Device | None, transaction_id: str
) -> Ask[mint_pb2.MintResponse]:
    """`MintService.Mint`."""
    tier, year = drop or ("", "")
    request = mint_pb2.MintRequest(
        receipt_data=receipt_data,
        user_id=user_id,
        original_transaction_id=transaction_id,
        email=email,
        tier=tier,
        year=year,
        device=mint_pb2.Device(device_id=device.device_id, public_key=device.public_key_pem) if device else None,
    )
    return Ask(_method(mint_pb2.DESCRIPTOR, "Mint"), request, mint_pb2.MintResponse, device)


def get_drop(tier: str, year: str) -> Ask[mint_pb2.GetDropResponse]:
    """`MintService.GetDrop`."""
    request = mint_pb2.GetDropRequest(tier=tier, year=year)
    return Ask(_method(mint_pb2.DESCRIPTOR, "GetDrop"), request, mint_pb2.GetDropResponse)


def watch_drop(tier: str, year: str) -> Ask[mint_pb2.WatchDropResponse]:
    """`MintService.WatchDrop`."""
    request = mint_pb2.WatchDropRequest(tier=tier, year=year)
    return Ask(_method(mint_pb2.DESCRIPTOR, "WatchDrop"), request, mint_pb2.WatchDropResponse)


def take_hold(
    tier: str, year: str, user_id: str, device: Device | None, app_transaction: str
) -> Ask[holds_pb2.TakeHoldResponse]:
    """`HoldService.TakeHold`."""
    request = holds_pb2.TakeHoldRequest(
        tier=tier,
        year=year,
        user_id=user_id,
        app_transaction=app_transaction,
        device=holds_pb2.HoldDevice(device_id=device.device_id, public_key=device.public_key_pem) if device else None,
    )
    return Ask(_method(holds_pb2.DESCRIPTOR, "TakeHold"), request, holds_pb2.TakeHoldResponse, device)


def release_hold(hold_id: str, user_id: str) -> Ask[holds_pb2.ReleaseHoldResponse]:
    """`HoldService.ReleaseHold`."""
    request = holds_pb2.ReleaseHoldRequest(hold_id=hold_id, user_id=user_id)
    return Ask(_method(holds_pb2.DESCRIPTOR, "ReleaseHold"), request, holds_pb2.ReleaseHoldResponse)


def extend_hold(hold_id: str, user_id: str) -> Ask[holds_pb2.ExtendHoldResponse]:
    """`HoldService.ExtendHold`."""
    request = holds_pb2.ExtendHoldRequest(hold_id=hold_id, user_id=user_id)
    return Ask(_method(holds_pb2.DESCRIPTOR, "ExtendHold"), request, holds_pb2.ExtendHoldResponse)


def get_hold(hold_id: str) -> Ask[holds_pb2.GetHoldResponse]:
    """`HoldService.GetHold`."""
    request = holds_pb2.GetHoldRequest(hold_id=hold_id)
    return Ask(_method(holds_pb2.DESCRIPTOR, "GetHold"), request, holds_pb2.GetHoldResponse)


def enter(
    tier: str, year: str, user_id: str, email: str, device: Device | None, app_transaction: str
) -> Ask[draw_pb2.EnterResponse]:
    """`DrawService.Enter`."""
    request = draw_pb2.EnterRequest(
        tier=tier,
        year=year,
        user_id=user_id,
        email=email,
        app_transaction=app_transaction,
        device=draw_pb2.EntryDevice(device_id=device.device_id, public_key=device.public_key_pem) if device else None,
    )
    return Ask(_method(draw_pb2.DESCRIPTOR, "Enter"), request, draw_pb2.EnterResponse, device)


def withdraw(entry_id: str, user_id: str) -> Ask[draw_pb2.WithdrawResponse]:
    """`DrawService.Withdraw`."""
    request = draw_pb2.WithdrawRequest(entry_id=entry_id, user_id=user_id)
    return Ask(_method(draw_pb2.DESCRIPTOR, "Withdraw"), request, draw_pb2.WithdrawResponse)


def get_entry(entry_id: str) -> Ask[draw_pb2.GetEntryResponse]:
    """`DrawService.GetEntry`."""
    request = draw_pb2.GetEntryRequest(entry_id=entry_id)
    return Ask(_method(draw_pb2.DESCRIPTOR, "GetEntry"), request, draw_pb2.GetEntryResponse)


def get_draw(tier: str, year: str) -> Ask[draw_pb2.GetDrawResponse]:
    """`DrawService.GetDraw`."""
    request = draw_pb2.GetDrawRequest(tier=tier, year=year)
    return Ask(_method(draw_pb2.DESCRIPTOR, "GetDraw"), request, draw_pb2.GetDrawResponse)


def issue_pass(membership_id: str, user_id: str, device: Device | None) -> Ask[Any]:
    """`WalletService.IssuePass`."""
    request = wallet_pb2.IssuePassRequest(membership_id=membership_id, user_id=user_id)
    return Ask(_method(wallet_pb2.DESCRIPTOR, "IssuePass"), request, HttpBody, device)


def issue_google_pass(
    membership_id: str, user_id: str, device: Device | None
) -> Ask[wallet_pb2.IssueGooglePassResponse]:
    """`WalletService.IssueGooglePass`."""
    request = wallet_pb2.IssueGooglePassRequest(membership_id=membership_id, user_id=user_id)
    method = _method(wallet_pb2.DESCRIPTOR, "IssueGooglePass")
    return Ask(method, request, wallet_pb2.IssueGooglePassResponse, device)


def verify_encounter(token: str, device: Device | None) -> Ask[encounter_pb2.VerifyEncounterResponse]:
    """`EncounterService.VerifyEncounter`."""
    request = encounter_pb2.VerifyEncounterRequest(token=token)
    method = _method(encounter_pb2.DESCRIPTOR, "VerifyEncounter")
    return Ask(method, request, encounter_pb2.VerifyEncounterResponse, device)


def list_encounters(
    membership_id: str, device: Device, page_size: int, page_token: str
) -> Ask[encounter_pb2.ListEncountersResponse]:
    """`EncounterService.ListEncounters`."""
    request = encounter_pb2.ListEncountersRequest(
        membership_id=membership_id, page_size=page_size, page_token=page_token
    )
    method = _method(encounter_pb2.DESCRIPTOR, "ListEncounters")
    return Ask(method, request, encounter_pb2.ListEncountersResponse, device)


def init_reforge(
    membership_id: str, user_id: str, new: Device, old: Device | None, old_device_id: str
) -> Ask[reforge_pb2.InitReforgeResponse]:
    """`ReforgeService.InitReforge`."""
    request = reforge_pb2.InitReforgeRequest(
        membership_id=membership_id,
        user_id=user_id,
        new_device_id=new.device_id,
        new_public_key=new.public_key_pem,
        old_device_id=old.device_id if old else old_device_id,
    )
    method = _method(reforge_pb2.DESCRIPTOR, "InitReforge")
    return Ask(method, request, reforge_pb2.InitReforgeResponse, old)


def confirm_reforge(token: str, confirmation_code: str) -> Ask[reforge_pb2.ConfirmReforgeResponse]:
    """`ReforgeService.ConfirmReforge`."""
    request = reforge_pb2.ConfirmReforgeRequest(token=token, confirmation_code=confirmation_code)
    method = _method(reforge_pb2.DESCRIPTOR, "ConfirmReforge")
    return Ask(method, request, reforge_pb2.ConfirmReforgeResponse)


def get_reforge(reforge_id: str, token: str) -> Ask[reforge_pb2.GetReforgeResponse]:
    """`ReforgeService.GetReforge`."""
    request = reforge_pb2.GetReforgeRequest(reforge_id=reforge_id, token=token)
    return Ask(_method(reforge_pb2.DESCRIPTOR, "GetReforge"), request, reforge_pb2.GetReforgeResponse)


def refuse_reforge(
    reforge_id: str, token: str, membership_id: str, device: Device | None
) -> Ask[reforge_pb2.RefuseReforgeResponse]:
    """`ReforgeService.RefuseReforge`."""
    request = reforge_pb2.RefuseReforgeRequest(reforge_id=reforge_id, token=token, membership_id=membership_id)
    method = _method(reforge_pb2.DESCRIPTOR, "RefuseReforge")
    return Ask(method, request, reforge_pb2.RefuseReforgeResponse, device)


def undo_reforge(
    reforge_id: str, token: str, membership_id: str, device: Device | None
) -> Ask[reforge_pb2.UndoReforgeResponse]:
    """`ReforgeService.UndoReforge`."""
    request = reforge_pb2.UndoReforgeRequest(reforge_id=reforge_id, token=token, membership_id=membership_id)
    method = _method(reforge_pb2.DESCRIPTOR, "UndoReforge")
    return Ask(method, request, reforge_pb2.UndoReforgeResponse, device)


def change_email(membership_id: str, user_id: str, email: str, device: Device) -> Ask[reforge_pb2.ChangeEmailResponse]:
    """`ReforgeService.ChangeEmail`."""
    request = reforge_pb2.ChangeEmailRequest(membership_id=membership_id, user_id=user_id, email=email)
    method = _method(reforge_pb2.DESCRIPTOR, "ChangeEmail")
    return Ask(method, request, reforge_pb2.ChangeEmailResponse, device)


def refuse_email_change(membership_id: str, device: Device) -> Ask[reforge_pb2.RefuseEmailChangeResponse]:
    """`ReforgeService.RefuseEmailChange`."""
    request = reforge_pb2.RefuseEmailChangeRequest(membership_id=membership_id)
    method = _method(reforge_pb2.DESCRIPTOR, "RefuseEmailChange")
    return Ask(method, request, reforge_pb2.RefuseEmailChangeResponse, device)


def list_moves(membership_id: str, device: Device) -> Ask[reforge_pb2.ListMovesResponse]:
    """`ReforgeService.ListMoves`."""
    request = reforge_pb2.ListMovesRequest(membership_id=membership_id)
    return Ask(_method(reforge_pb2.DESCRIPTOR, "ListMoves"), request, reforge_pb2.ListMovesResponse, device)
