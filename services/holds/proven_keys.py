"""The keys that a request proves and that its drop counts: user, device, store account, mailbox."""

from __future__ import annotations

from typing import Any, Protocol

from services.holds.proven_device import proven_thumbprint
from services.identity.device_proof import DeviceProofs, claimed_proof
from services.identity.jose import PublicKey
from services.limits import PersonKey, PersonKeys, mailbox
from services.mint.drops import Drop
from services.server.runtime.call import Call


class StoreAccounts(Protocol):
    """Verifies AppTransactions of a store."""

    async def account(self, signed: str) -> str:
        """The id of the AppTransaction's account. Raises Unauthorized, Retryable."""


class ProvenKeys:
    """Verifies the proofs of a request."""

    def __init__(self, keys: PersonKeys, proofs: DeviceProofs, accounts: StoreAccounts | None = None) -> None:
        """`accounts`: None if no app is configured; then no store account counts."""
        self._keys = keys
        self._proofs = proofs
        self._accounts = accounts

    async def verify(self, request: Any, device: PublicKey | None, drop: Drop, call: Call) -> dict[str, str]:
        """The proven values of a request with `user_id` and `app_transaction`, by kind.

        `device`: the key of the device that the request names. Raises Unauthorized, Retryable.
        """
        proven = {"user": request.user_id}
        if device is not None:
            thumbprint = proven_thumbprint(device, claimed_proof(call, request), self._proofs)
            if thumbprint is not None:
                proven["device"] = thumbprint
        if "store_account" in drop.limits and request.app_transaction and self._accounts is not None:
            proven["store_account"] = await self._accounts.account(request.app_transaction)
        if "email" in drop.limits and call.identity is not None:
            address = mailbox(call.identity.verified_email)
            if address is not None:
                proven["email"] = address
        return proven

    async def digest(self, drop: Drop, proven: dict[str, str]) -> tuple[PersonKey, ...]:
        """The person keys of proven values that count in the drop. Raises Retryable."""
        return await self._keys.of(drop.id, drop.limits, proven)
