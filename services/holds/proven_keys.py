"""The keys that a request proves: its user, a device, a store account, a mailbox, as far as the drop counts them."""

from __future__ import annotations

from typing import Any, Final, Protocol

from services.device_proof import DeviceProofs, claimed_proof
from services.holds.proven_device import proven_thumbprint
from services.limits import PersonKey, PersonKeys, mailbox
from services.mint.drops import Drop
from services.runtime.call import Call
from services.runtime.fields import is_longer, refuse_nul
from vyris.errors import InvalidRequest

APP_TRANSACTION_LIMIT_BYTES: Final = 49_152


class StoreAccounts(Protocol):
    """Proves which store account an AppTransaction is of."""

    async def account(self, signed: str) -> str:
        """Its id. Raises Unauthorized, Retryable."""


class ProvenKeys:
    """Finds out what a request proves."""

    def __init__(self, keys: PersonKeys, proofs: DeviceProofs, accounts: StoreAccounts | None = None) -> None:
        """`accounts` is None where no app is configured: then no store account counts."""
        self._keys = keys
        self._proofs = proofs
        self._accounts = accounts

    async def values(self, request: Any, drop: Drop, call: Call) -> dict[str, str]:
        """What a request with `user_id`, `device` and `app_transaction` proves, by kind.

        Raises InvalidRequest, Unauthorized, Retryable.
        """
        proven = {"user": request.user_id}
        if request.HasField("device"):
            device = request.device
            thumbprint = proven_thumbprint(
                device.device_id, device.public_key, claimed_proof(call, request), self._proofs
            )
            if thumbprint is not None:
                proven["device"] = thumbprint
        if "store_account" in drop.limits and request.app_transaction and self._accounts is not None:
            proven["store_account"] = await self._accounts.account(request.app_transaction)
        if "email" in drop.limits and call.identity is not None:
            address = mailbox(call.identity.verified_email)
            if address is not None:
                proven["email"] = address
        return proven

    async def digested(self, drop: Drop, proven: dict[str, str]) -> tuple[PersonKey, ...]:
        """The keys of what was proven that count in the drop. Raises Retryable."""
        return await self._keys.of(drop.id, drop.limits, proven)


def check_app_transaction(signed: str) -> None:
    """Raises InvalidRequest for what no AppTransaction can be."""
    refuse_nul(signed)
    if is_longer(signed, APP_TRANSACTION_LIMIT_BYTES):
        raise InvalidRequest(f"app_transaction must be at most {APP_TRANSACTION_LIMIT_BYTES} bytes")
