"""The kinds of receipts that the settings name: their verifiers, and the readers of their notifications."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from services.data.storage.database import Database
from services.identity.jwks import opened_keys, p256_key
from services.mint.receipts.app_store import AppStoreVerifier
from services.mint.receipts.app_store_signatures import AppStoreSignatures
from services.mint.receipts.app_transactions import AppTransactions
from services.mint.receipts.merchant import MerchantVerifier
from services.mint.receipts.merchant_keys import MerchantKeys
from services.mint.receipts.merchant_signatures import MerchantSignatures
from services.mint.receipts.opaque import OpaqueVerifier
from services.mint.receipts.settings import ReceiptSettings, accepted_kinds, api_key, products, root_certificates
from services.mint.receipts.verified import Environment, ReceiptVerifier
from services.mint.refunds.app_store import AppStoreNotices
from services.mint.refunds.apple_history import AppleHistory
from services.mint.refunds.merchant import MerchantNotices
from services.server.runtime.settings import WrongSetting


@dataclass
class ReceiptKinds:
    """The accepted kinds. A reader of notifications is None if its kind is not accepted."""

    verifiers: list[ReceiptVerifier] = field(default_factory=list)
    app_store_notices: AppStoreNotices | None = None
    app_transactions: AppTransactions | None = None
    merchant_notices: MerchantNotices | None = None
    # Apple's histories, one for each environment; empty if no key for its API is set.
    app_store_histories: list[AppleHistory] = field(default_factory=list)


@asynccontextmanager
async def ready_kinds(
    settings: ReceiptSettings, *, production: bool, database: Database | None = None
) -> AsyncIterator[ReceiptKinds]:
    """Prepare the kinds. `database` stores old merchant keys, which outlive the settings. Raises WrongSetting."""
    kinds = ReceiptKinds()
    async with AsyncExitStack() as closing:
        for name in accepted_kinds(settings):
            match name:
                case "app-store":
                    await add_app_store(kinds, settings, closing, production=production)
                case "merchant":
                    await _add_merchant(kinds, settings, closing, production=production, database=database)
                case "opaque":
                    _add_opaque(kinds, production=production)
        yield kinds


async def add_app_store(
    kinds: ReceiptKinds, settings: ReceiptSettings, closing: AsyncExitStack, *, production: bool
) -> None:
    """Prepare App Store receipts until `closing` closes. Raises WrongSetting."""
    if not settings.app_store_bundle_id or settings.app_store_app_id is None:
        raise WrongSetting("RECEIPT_KINDS names app-store, so APP_STORE_BUNDLE_ID and APP_STORE_APP_ID must be set")
    roots = root_certificates(settings.app_store_roots)
    signatures = AppStoreSignatures(
        roots,
        settings.app_store_bundle_id,
        settings.app_store_app_id,
        online_checks=settings.app_store_online_checks,
    )
    closing.callback(signatures.close)
    sold = products(settings.app_store_products)
    accepts_sandbox = _sandbox(settings.app_store_sandbox, production=production)
    kinds.verifiers.append(
        AppStoreVerifier(
            signatures,
            sold,
            account_namespace=settings.app_store_account_namespace,
            accepts_sandbox=accepts_sandbox,
        )
    )
    kinds.app_transactions = AppTransactions(signatures)
    kinds.app_store_notices = AppStoreNotices(signatures)
    key = api_key(settings, production=production)
    if key is None:
        return
    environments: list[Environment] = ["production", "sandbox"] if accepts_sandbox else ["production"]
    for environment in environments:
        # In a thread, because it reads the machine's trusted certificates for a tenth of a second.
        history = await asyncio.to_thread(
            AppleHistory, key, settings.app_store_bundle_id, environment, settings.app_store_api_url
        )
        closing.push_async_callback(history.aclose)
        kinds.app_store_histories.append(history)


async def _add_merchant(
    kinds: ReceiptKinds,
    settings: ReceiptSettings,
    closing: AsyncExitStack,
    *,
    production: bool,
    database: Database | None,
) -> None:
    source = settings.merchant_jwks
    if not settings.merchant_issuer or not source:
        raise WrongSetting("RECEIPT_KINDS names merchant, so MERCHANT_ISSUER and MERCHANT_JWKS must be set")
    keys = await closing.enter_async_context(
        opened_keys("MERCHANT_JWKS", source, "the merchant", p256_key, production=production)
    )
    remembered = MerchantKeys(database, settings.merchant_issuer) if database is not None else None
    signatures = MerchantSignatures(
        keys,
        settings.merchant_issuer,
        settings.merchant_audience,
        remembered,
        own_typ_required=settings.merchant_jwt_typ == "required",
    )
    accepts_sandbox = _sandbox(settings.merchant_sandbox, production=production)
    kinds.verifiers.append(MerchantVerifier(signatures, accepts_sandbox=accepts_sandbox))
    kinds.merchant_notices = MerchantNotices(signatures)


def _sandbox(setting: bool | None, *, production: bool) -> bool:
    """Whether test purchases, which cost nothing, mint. In production only if a setting says so."""
    return not production if setting is None else setting


def _add_opaque(kinds: ReceiptKinds, *, production: bool) -> None:
    if production:
        raise WrongSetting(
            "RECEIPT_KINDS names opaque, which proves no payment; VYRIS_ENV=production accepts app-store and merchant"
        )
    kinds.verifiers.append(OpaqueVerifier())
