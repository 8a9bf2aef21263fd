"""Parse a mint request, and check it against the contract's bounds."""

from __future__ import annotations

from typing import Final, NamedTuple

from services.identity.jose import KeyRefused, public_key_from_text
from services.mint.ledger import EnrolledDevice
from services.server.runtime.fields import email_address, refuse_nul
from services.server.runtime.request_checks import compile_check
from vyris.errors import InvalidReceipt, InvalidRequest
from vyris.mint.v1 import mint_pb2

_RECEIPT: Final = ("receipt_data", "user_id")
_check_receipt = compile_check(mint_pb2.MintRequest, only=_RECEIPT, error=InvalidReceipt)
# The parsers of an address and of a key check these.
_check_rest = compile_check(mint_pb2.MintRequest, apart_from=(*_RECEIPT, "email", "device.public_key"))


class CheckedMintRequest(NamedTuple):
    """What a caller asks for, within bounds. `drop` is None where the default drop is meant."""

    receipt_data: str
    user_id: str
    original_transaction_id: str | None
    email: str | None
    drop: tuple[str, str] | None
    device: EnrolledDevice | None


def parse_mint_request(request: mint_pb2.MintRequest) -> CheckedMintRequest:
    """Raises InvalidReceipt for the receipt or its user, InvalidRequest for any other field."""
    _check_receipt(request)
    if "\x00" in request.receipt_data:
        raise InvalidReceipt("receipt_data holds a character that is not allowed (U+0000)")
    _check_rest(request)
    refuse_nul(request.original_transaction_id)
    return CheckedMintRequest(
        request.receipt_data,
        request.user_id,
        request.original_transaction_id or None,
        email_address(request.email) if request.email else None,
        (request.tier, request.year) if request.tier else None,
        _device(request.device) if request.HasField("device") else None,
    )


def _device(device: mint_pb2.Device) -> EnrolledDevice:
    try:
        key = public_key_from_text(device.public_key)
    except KeyRefused as refusal:
        raise InvalidRequest(f"device.public_key: {refusal.message}") from None
    return EnrolledDevice(device.device_id, key.canonical, key.thumbprint)
