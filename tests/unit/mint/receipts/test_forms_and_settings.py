"""Which verifier checks a receipt, and which settings are allowed."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from services.mint.receipt_kinds import ReceiptKinds, ready_kinds
from services.mint.receipts.settings import ReceiptSettings, products, root_certificates
from services.mint.receipts.verified import ReceiptClaim
from services.mint.receipts.verifiers import ReceiptVerifiers
from services.server.runtime.settings import WrongSetting
from tests.signers.app_store import APP_ID, BUNDLE_ID, PRODUCTS, AppStoreSigner
from tests.signers.merchant import ISSUER, MerchantSigner
from vyris.errors import InvalidReceipt

USER = "2c1f6f4e-6b0c-4f0e-9a56-1d2f3a4b5c6d"


@pytest.fixture(scope="module")
def store() -> AppStoreSigner:
    return AppStoreSigner()


@pytest.fixture(scope="module")
def shop() -> MerchantSigner:
    return MerchantSigner()


@pytest.fixture
def settings(store: AppStoreSigner, shop: MerchantSigner, tmp_path: Path) -> dict[str, Any]:
    return {
        "receipt_kinds": "opaque,merchant, app-store",
        "app_store_bundle_id": BUNDLE_ID,
        "app_store_app_id": APP_ID,
        "app_store_roots": str(store.write_root(tmp_path)),
        "app_store_products": PRODUCTS,
        "merchant_issuer": ISSUER,
        "merchant_jwks": str(shop.write_jwks(tmp_path)),
    }


async def nothing_minted(key: bytes) -> None:
    """The ledger's answer for a receipt that has not minted."""


async def kinds_of(settings: dict[str, Any], *, production: bool = False) -> ReceiptKinds:
    async with ready_kinds(ReceiptSettings(**settings), production=production) as kinds:
        return kinds


@pytest.mark.parametrize("kinds", [",".join(p) for p in itertools.permutations(["opaque", "merchant", "app-store"])])
async def test_the_form_decides_in_any_order_of_the_kinds(
    settings: dict[str, Any], store: AppStoreSigner, shop: MerchantSigner, kinds: str
) -> None:
    async with ready_kinds(ReceiptSettings(**settings | {"receipt_kinds": kinds}), production=False) as ready:
        verifiers = ReceiptVerifiers(ready.verifiers, nothing_minted)
        for receipt, kind in (
            (store.transaction(USER), "app-store"),
            (shop.receipt(USER), "merchant"),
            ("any text", "opaque"),
        ):
            assert (await verifiers.verify(ReceiptClaim(receipt, USER, None))).kind == kind


@pytest.mark.parametrize("kinds", ["opaque", "opaque,merchant", "opaque,app-store"])
async def test_text_that_looks_like_a_jws_is_never_opaque(
    settings: dict[str, Any], store: AppStoreSigner, shop: MerchantSigner, kinds: str
) -> None:
    async with ready_kinds(ReceiptSettings(**settings | {"receipt_kinds": kinds}), production=False) as ready:
        verifiers = ReceiptVerifiers(ready.verifiers, nothing_minted)
        for receipt in (AppStoreSigner().transaction(USER), MerchantSigner().receipt(USER), "eyJhbGciOiJub25lIn0.e30."):
            with pytest.raises(InvalidReceipt):
                await verifiers.verify(ReceiptClaim(receipt, USER, None))


async def test_production_refuses_opaque_and_keys_over_plain_http(settings: dict[str, Any]) -> None:
    with pytest.raises(WrongSetting, match="opaque"):
        await kinds_of(settings, production=True)
    proving = settings | {"receipt_kinds": "merchant,app-store"}
    assert len((await kinds_of(proving, production=True)).verifiers) == 2
    with pytest.raises(WrongSetting, match="https"):
        await kinds_of(proving | {"merchant_jwks": "http://shop.test/jwks"}, production=True)


@pytest.mark.parametrize(
    ("production", "setting", "mints"),
    [
        (False, None, True),
        (False, False, False),
        (True, None, False),
        (True, True, True),
    ],
)
async def test_free_purchases_mint_in_production_only_where_a_setting_allows_it(
    settings: dict[str, Any], store: AppStoreSigner, shop: MerchantSigner, production: bool, setting: Any, mints: bool
) -> None:
    proving = settings | {
        "receipt_kinds": "merchant,app-store",
        "app_store_sandbox": setting,
        "merchant_sandbox": setting,
    }
    async with ready_kinds(ReceiptSettings(**proving), production=production) as ready:
        verifiers = ReceiptVerifiers(ready.verifiers, nothing_minted)
        for receipt in (store.transaction(USER, environment="Sandbox"), shop.receipt(USER, sandbox=True)):
            if mints:
                assert (await verifiers.verify(ReceiptClaim(receipt, USER, None))).environment == "sandbox"
                continue
            with pytest.raises(InvalidReceipt, match="test"):
                await verifiers.verify(ReceiptClaim(receipt, USER, None))


@pytest.mark.parametrize(
    "change",
    [
        {"receipt_kinds": ""},
        {"receipt_kinds": "google-play"},
        {"receipt_kinds": "merchant,merchant"},
        {"app_store_bundle_id": ""},
        {"app_store_app_id": None},
        {"app_store_roots": ""},
        {"app_store_roots": "/nowhere/root.cer"},
        {"app_store_products": ""},
        {"merchant_issuer": ""},
        {"merchant_jwks": ""},
        {"merchant_jwks": "/nowhere/jwks.json"},
    ],
    ids=str,
)
async def test_a_kind_without_its_keys_refuses_to_start(settings: dict[str, Any], change: dict[str, Any]) -> None:
    with pytest.raises(WrongSetting):
        await kinds_of(settings | change)


@pytest.mark.parametrize("text", ["a", "a=b", "a=genesis:1999", "a=G:2025", "a=b:2025,a=c:2025", "=b:2025", " , "])
def test_products_that_do_not_name_drops_are_refused(text: str) -> None:
    with pytest.raises(WrongSetting, match="APP_STORE_PRODUCTS"):
        products(text)


def test_products_name_their_drops() -> None:
    assert products(" a.b=gold:2026 ,c=x:2025,") == {"a.b": ("gold", "2026"), "c": ("x", "2025")}


def test_roots_come_as_der_pem_or_text(store: AppStoreSigner, tmp_path: Path) -> None:
    root = store.root.certificate
    der = store.write_root(tmp_path)
    pem = tmp_path / "root.pem"
    pem.write_text(store.root_pem * 2)
    assert root_certificates(str(der)) == [root]
    assert root_certificates(f"{der}, {pem}") == [root] * 3
    assert root_certificates(store.root_pem.replace("\n", "\\n")) == [root]
    broken = tmp_path / "broken.cer"
    broken.write_bytes(root.public_bytes(Encoding.DER)[:-3])
    with pytest.raises(WrongSetting):
        root_certificates(str(broken))
