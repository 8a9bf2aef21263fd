"""Parse a mint request, and check it against the contract's bounds."""

from __future__ import annotations

from typing import NamedTuple

from services.identity.jose import KeyRefused, public_key_from_text
from services.mint.ledger import EnrolledDevice
from services.mint.receipts.verified import RECEIPT_LIMIT_BYTES, TRANSACTION_ID_LIMIT_BYTES
from services.server.runtime.fields import drop_name, email_address, is_longer, is_opaque_id, opaque_id, refuse_nul
from vyris.errors import InvalidReceipt, InvalidRequest
from vyris.mint.v1 import mint_pb2


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
    receipt_data, user_id = request.receipt_data, request.user_id
    if not receipt_data or receipt_data.isspace():
        raise InvalidReceipt("receipt_data is missing")
    if is_longer(receipt_data, RECEIPT_LIMIT_BYTES):
        raise InvalidReceipt(f"receipt_data must be at most {RECEIPT_LIMIT_BYTES} bytes")
    if "\x00" in receipt_data:
        raise InvalidReceipt("receipt_data holds a character that is not allowed (U+0000)")
    if not is_opaque_id(user_id):
        raise InvalidReceipt("user_id must be 1 to 128 printable ASCII characters")
    return CheckedMintRequest(
        receipt_data,
        user_id,
        _transaction_id(request.original_transaction_id),
        email_address(request.email) if request.email else None,
        _drop(request.tier, request.year),
        _device(request.device) if request.HasField("device") else None,
    )


def _transaction_id(text: str) -> str | None:
    if not text:
        return None
    refuse_nul(text)
    if is_longer(text, TRANSACTION_ID_LIMIT_BYTES):
        raise InvalidRequest(f"original_transaction_id must be at most {TRANSACTION_ID_LIMIT_BYTES} bytes")
    return text


def _drop(tier: str, year: str) -> tuple[str, str] | None:
    if not tier and not year:
        return None
    if not tier or not year:
        raise InvalidRequest("tier and year must be given both, or neither")
    return drop_name(tier, year)


def _device(device: mint_pb2.Device) -> EnrolledDevice:
    device_id = opaque_id("device.device_id", device.device_id)
    try:
        key = public_key_from_text(device.public_key)
    except KeyRefused as refusal:
        raise InvalidRequest(f"device.public_key: {refusal.message}") from None
    return EnrolledDevice(device_id, key.canonical, key.thumbprint)
