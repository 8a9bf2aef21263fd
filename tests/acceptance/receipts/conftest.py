"""The suite with receipts that must prove a payment: an App Store and a shop of the tests' own."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from admin.drops import NewDrop, create_drop
from stack.local import Stack
from tests.shell import chosen_settings
from tests.signers.app_store import APP_ID, BUNDLE_ID, PRODUCTS, AppStoreSigner
from tests.signers.merchant import ISSUER, MerchantSigner


@pytest.fixture(scope="module")
def store() -> AppStoreSigner:
    return AppStoreSigner()


@pytest.fixture(scope="module")
def shop() -> MerchantSigner:
    return MerchantSigner()


@pytest.fixture(scope="module")
def paid_stack(store: AppStoreSigner, shop: MerchantSigner) -> Iterator[Stack]:
    """Accepts App Store and merchant receipts alone."""
    with tempfile.TemporaryDirectory(prefix="vyris-receipts-") as folder:
        environment = {
            **chosen_settings(),
            "RECEIPT_KINDS": "app-store,merchant",
            "APP_STORE_BUNDLE_ID": BUNDLE_ID,
            "APP_STORE_APP_ID": str(APP_ID),
            "APP_STORE_ROOTS": str(store.write_root(Path(folder))),
            "APP_STORE_PRODUCTS": f"{PRODUCTS},app.vyris.untested=untested:2025",
            "MERCHANT_ISSUER": ISSUER,
            "MERCHANT_JWKS": str(shop.write_jwks(Path(folder))),
        }
        with Stack.isolated(Path(folder) / "state", environment=environment) as running:
            yield running


@pytest.fixture
async def gateway(paid_stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=100)
    async with httpx.AsyncClient(base_url=paid_stack.gateway_url, timeout=30, limits=limits) as client:
        yield client


@pytest.fixture
async def database(paid_stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(paid_stack.database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def sandbox_drop(database: asyncpg.Connection) -> int:
    """The supply of test purchases of the default drop; its capacity."""
    async with database.transaction():
        await create_drop(database, NewDrop("genesis", "2025", 5, "sandbox"))
    return 5
