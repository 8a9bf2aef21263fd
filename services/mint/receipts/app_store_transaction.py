"""A transaction as the App Store signs it, read from its claims.

Source: Apple, App Store Server API, JWSTransactionDecodedPayload.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard
from uuid import UUID

from appstoreserverlibrary.models.Environment import Environment as StoreEnvironment
from appstoreserverlibrary.models.InAppOwnershipType import InAppOwnershipType
from appstoreserverlibrary.models.Type import Type

from services.mint.receipts.app_store_signatures import NotSigned, known_environment
from services.mint.receipts.verified import TRANSACTION_ID_LIMIT_BYTES, Environment, receipt_key
from services.server.runtime.fields import is_longer

KIND: Final = "app-store"


@dataclass(frozen=True, slots=True)
class Transaction:
    """The facts that decide whether a purchase buys a membership."""

    transaction_id: str
    original_transaction_id: str
    environment: Environment
    product_id: str
    consumable: bool | None  # None: a subscription
    quantity: object
    purchased: bool  # by this account itself, not shared by its family
    family_shared: bool
    revoked: bool
    account: UUID | None  # appAccountToken
    store_account: str | None  # appTransactionId: one for each Apple account and app

    @property
    def purchase_id(self) -> str:
        """The id of the purchase. Restoring a non-consumable makes new transactions with one original."""
        return self.transaction_id if self.consumable else self.original_transaction_id

    @property
    def key(self) -> bytes:
        """The ledger's key."""
        return receipt_key(KIND, self.environment, self.purchase_id)


def transaction_of(claims: Mapping[str, Any]) -> Transaction:
    """Parse proven claims. Raises NotSigned if they do not have the App Store's form."""
    ownership = claims.get("inAppOwnershipType")
    return Transaction(
        transaction_id=_text(claims, "transactionId"),
        original_transaction_id=_text(claims, "originalTransactionId"),
        environment=environment_name(known_environment(claims.get("environment"))),
        product_id=_text(claims, "productId"),
        consumable=_consumable(claims.get("type")),
        quantity=claims.get("quantity"),
        purchased=ownership == InAppOwnershipType.PURCHASED.value,
        family_shared=ownership == InAppOwnershipType.FAMILY_SHARED.value,
        revoked=any(claims.get(name) is not None for name in ("revocationDate", "revocationReason", "revocationType")),
        account=_account(claims.get("appAccountToken")),
        store_account=_store_account(claims.get("appTransactionId")),
    )


def environment_name(environment: StoreEnvironment) -> Environment:
    """Our name for an environment of the App Store."""
    return "production" if environment == StoreEnvironment.PRODUCTION else "sandbox"


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not is_foreign_id(value):
        raise NotSigned(f"its {name} does not have the App Store's form")
    return value


def is_foreign_id(value: object) -> TypeGuard[str]:
    """Whether it is a text that Postgres can store. Apple calls its ids opaque, so nothing else is required."""
    return (
        isinstance(value, str)
        and value != ""
        and "\x00" not in value
        and not any("\ud800" <= character <= "\udfff" for character in value)
        and not is_longer(value, TRANSACTION_ID_LIMIT_BYTES)
    )


def _consumable(kind: object) -> bool | None:
    if kind == Type.CONSUMABLE.value:
        return True
    return False if kind == Type.NON_CONSUMABLE.value else None


def _store_account(text: object) -> str | None:
    """None for older transactions, which do not name it."""
    return text if is_foreign_id(text) else None


def _account(token: object) -> UUID | None:
    if not isinstance(token, str):
        return None
    try:
        return UUID(token)
    except ValueError:
        return None
