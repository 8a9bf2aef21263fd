"""Refunds without a notification are found in Apple's histories, once, in spite of faults on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from cli.main import app
from services.mint.ledger import MintOrder
from services.mint.receipt_kinds import ready_kinds
from services.mint.receipts.settings import ReceiptSettings
from services.mint.receipts.verified import ReceiptClaim
from services.mint.receipts.verifiers import ReceiptVerifiers
from services.mint.refunds import apple_history
from services.mint.refunds.application import Refunds
from services.mint.refunds.reconciliation import Findings, Reconciler
from services.server.runtime.settings import WrongSetting
from tests.signers.app_store import APP_ID, BUNDLE_ID, PRODUCTS, AppStoreSigner, now_ms
from tests.stand_ins.app_store_api import DAY_MS, AppStoreApi, app_store_api
from tests.stand_ins.mint_engine import Mint, MintMaker
from vyris.errors import InvalidReceipt

USER = "2c1f6f4e-6b0c-4f0e-9a56-1d2f3a4b5c6d"


@pytest.fixture(scope="module")
def store() -> AppStoreSigner:
    return AppStoreSigner()


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[AppStoreApi]:
    monkeypatch.setattr(apple_history, "FIRST_PAUSE_S", 0.01)
    with app_store_api() as api:
        yield api


@pytest.fixture
def environment(store: AppStoreSigner, api: AppStoreApi, tmp_path: Path) -> dict[str, str]:
    return {
        "RECEIPT_KINDS": "app-store",
        "APP_STORE_BUNDLE_ID": BUNDLE_ID,
        "APP_STORE_APP_ID": str(APP_ID),
        "APP_STORE_ROOTS": str(store.write_root(tmp_path)),
        "APP_STORE_PRODUCTS": PRODUCTS,
        **api.environment,
    }


@pytest.fixture
def settings(environment: dict[str, str]) -> ReceiptSettings:
    return ReceiptSettings(**{name.lower(): value for name, value in environment.items()})  # type: ignore[arg-type]


async def reconcile(mint: Mint, settings: ReceiptSettings, days: int = 30) -> dict[str, Findings]:
    async with ready_kinds(settings, production=False, database=mint.database) as kinds:
        reconciler = Reconciler(mint.database, kinds.app_store_notices, kinds.app_store_histories, 0)
        return {found.environment: found for found in await reconciler.by_command(days, 10_000)}


async def mint_receipts(mint: Mint, settings: ReceiptSettings, *receipts: str) -> None:
    """Mint receipts of the production environment as the servicer does."""
    async with ready_kinds(settings, production=False, database=mint.database) as kinds:
        verifiers = ReceiptVerifiers(kinds.verifiers, mint.engine.minted_in)
        for receipt in receipts:
            verified = await verifiers.verify(ReceiptClaim(receipt, USER, None))
            await mint.mint_order(MintOrder(verified, USER, None, None))


async def test_notifications_that_never_arrived_are_applied_once(
    make_mint: MintMaker, settings: ReceiptSettings, api: AppStoreApi, store: AppStoreSigner
) -> None:
    mint = await make_mint(capacity=50)
    sold = [store.transaction(USER, transactionId=str(number)) for number in range(25)]
    await mint_receipts(mint, settings, *sold)
    for receipt in sold:
        api.add("REFUND", store.notification("REFUND", receipt))
    unlisted = store.transaction(USER, transactionId="unlisted", productId="app.vyris.later", type="Consumable")
    api.add("REVOKE", store.notification("REVOKE", unlisted))
    reversed_again = store.notification("REFUND_REVERSED", sold[0], signedDate=now_ms() + 1_000)
    api.add("REFUND_REVERSED", reversed_again)
    api.add("TEST", store.notification("TEST", sold[1]))
    found = (await reconcile(mint, settings))["production"]
    assert (found.notifications, found.unreadable, found.problem) == (27, 0, "")
    assert found.applied == {"REVOKED": 25, "REMEMBERED": 1, "RESTORED": 1}
    assert await mint.value("SELECT count(*) FROM memberships WHERE revoked_at IS NULL") == 1
    again = (await reconcile(mint, settings))["production"]
    assert (again.notifications, again.applied) == (27, {})
    listed = settings.model_copy(update={"app_store_products": f"{PRODUCTS},app.vyris.later=later:2025"})
    with pytest.raises(InvalidReceipt, match="refunded"):
        await mint_receipts(mint, listed, unlisted)


async def test_what_apple_no_longer_lists_as_a_notification_is_in_its_refund_history(
    make_mint: MintMaker, settings: ReceiptSettings, api: AppStoreApi, store: AppStoreSigner
) -> None:
    mint = await make_mint(capacity=50)
    kept, refunded = (store.transaction(USER, transactionId=name) for name in ("a/b?c", "gone"))
    await mint_receipts(mint, settings, kept, refunded)
    long_ago = now_ms() - 400 * DAY_MS
    api.refunds["gone"] = [
        store.transaction(USER, transactionId="gone", revocationDate=long_ago, revocationReason=0),
        *(store.transaction(USER, transactionId=f"coins {n}", revocationDate=long_ago + n) for n in range(30)),
        store.transaction(USER, transactionId="a/b?c", inAppOwnershipType="FAMILY_SHARED", revocationDate=1),
    ]
    api.refunds["a/b?c"] = []
    found = (await reconcile(mint, settings))["production"]
    assert (found.purchases, found.refunds, found.unreadable) == (2, 32, 0)
    assert found.applied == {"REVOKED": 1, "REMEMBERED": 30}
    assert await mint.value("SELECT transaction_id FROM receipt_ledger WHERE state = 'FULFILLED'") == "a/b?c"
    assert (await reconcile(mint, settings))["production"].applied == {}
    # A later reversal stays in force when the history lists the refund before it.
    await reverse(mint, store, settings)
    assert (await reconcile(mint, settings))["production"].applied == {}
    assert await mint.value("SELECT count(*) FROM memberships WHERE revoked_at IS NULL") == 2


async def reverse(mint: Mint, store: AppStoreSigner, settings: ReceiptSettings) -> None:
    reversal = store.notification("REFUND_REVERSED", store.transaction(USER, transactionId="gone"))
    async with ready_kinds(settings, production=False) as kinds:
        assert kinds.app_store_notices is not None
        notice = await kinds.app_store_notices.read(reversal)
    assert notice is not None
    assert await Refunds(mint.database).apply(notice) == "RESTORED"


async def test_forged_items_of_a_history_are_counted_and_change_nothing(
    make_mint: MintMaker, settings: ReceiptSettings, api: AppStoreApi, store: AppStoreSigner
) -> None:
    mint = await make_mint()
    receipt = store.transaction(USER, transactionId="1")
    await mint_receipts(mint, settings, receipt)
    stranger = AppStoreSigner()
    forged = stranger.transaction(USER, transactionId="1", revocationDate=1)
    api.add("REFUND", stranger.notification("REFUND", receipt))
    api.add("REFUND", store.notification("REFUND", forged))
    api.add("REFUND", "rubbish")
    api.refunds["1"] = [forged, "rubbish", store.transaction(USER, transactionId="1")]
    found = (await reconcile(mint, settings))["production"]
    assert (found.unreadable, found.applied) == (5, {})
    assert await mint.ledger() == {"FULFILLED": 1}


@pytest.mark.parametrize(
    ("trouble", "problem"),
    [
        ({"failures": [429, 500, 503]}, ""),
        ({"failures": [500] * 4}, "500, 4 times"),
        ({"failures": [400]}, "refuses the request"),
        ({"failures": [401]}, "APP_STORE_API_KEY"),
        ({"endless": True}, "more than"),
        ({"raw": b"[]"}, "documented form"),
        ({"raw": b"{"}, "documented form"),
        ({"raw": b'{"notificationHistory": [7]}'}, "documented form"),
        ({"raw": b'{"hasMore": true}'}, "how it goes on"),
        ({"raw": b" " * 5_000_000}, "larger than"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_an_api_in_trouble_ends_within_bounds_and_says_so(
    make_mint: MintMaker,
    settings: ReceiptSettings,
    api: AppStoreApi,
    store: AppStoreSigner,
    monkeypatch: pytest.MonkeyPatch,
    trouble: dict[str, Any],
    problem: str,
) -> None:
    monkeypatch.setattr(apple_history, "PAGES_LIMIT", 5)
    mint = await make_mint()
    for name, value in trouble.items():
        setattr(api, name, value)
    found = (await reconcile(mint, settings, days=2))["production"]
    assert problem in found.problem
    assert bool(problem) == bool(found.problem)
    assert len(api.asked) <= 30


async def test_an_api_that_does_not_answer_is_no_defect(make_mint: MintMaker, settings: ReceiptSettings) -> None:
    mint = await make_mint()
    away = settings.model_copy(update={"app_store_api_url": "http://127.0.0.1:1"})
    assert "does not answer" in (await reconcile(mint, away))["production"].problem


async def test_the_timer_goes_on_where_it_ended_and_one_process_does_it(
    make_mint: MintMaker, settings: ReceiptSettings, api: AppStoreApi, store: AppStoreSigner
) -> None:
    mint = await make_mint()
    receipt = store.transaction(USER, transactionId="1")
    await mint_receipts(mint, settings, receipt)
    api.add("REFUND", store.notification("REFUND", receipt), now_ms() - 100 * DAY_MS)
    async with ready_kinds(settings, production=False, database=mint.database) as kinds:

        def process(interval_s: float) -> Reconciler:
            return Reconciler(mint.database, kinds.app_store_notices, kinds.app_store_histories, interval_s)

        api.failures = [500] * 8
        await process(3_600).once()  # fails in both environments, and does not move on
        assert await mint.ledger() == {"FULFILLED": 1}
        await process(0).once()
        assert await mint.ledger() == {"REFUNDED REFUND": 1}
        asked = len(api.asked)
        await process(3_600).once()
        assert len(api.asked) == asked  # another process did it a moment ago
        await process(0).once()
        assert len(api.asked) - asked <= 2 * 3  # only the last hour, in two environments


async def vyris(database_url: str, folder: Path, environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    places = {"DATABASE_URL": database_url, "VYRIS_STATE_DIR": str(folder / "state"), "COLUMNS": "250"}
    command = ["receipts", "reconcile", *arguments]
    result = await asyncio.to_thread(CliRunner().invoke, app, command, env={**environment, **places})
    return result.exit_code, result.stdout, result.stderr


async def test_the_operators_command_applies_what_was_missed_and_is_in_the_audit_log(
    make_mint: MintMaker,
    settings: ReceiptSettings,
    environment: dict[str, str],
    api: AppStoreApi,
    store: AppStoreSigner,
    database_url: str,
    tmp_path: Path,
) -> None:
    mint = await make_mint()
    receipt = store.transaction(USER, transactionId="1")
    await mint_receipts(mint, settings, receipt)
    api.add("REFUND", store.notification("REFUND", receipt))
    status, out, err = await vyris(database_url, tmp_path, environment, "--json")
    assert status == 0, err
    assert {row["environment"]: row["outcomes"] for row in json.loads(out)} == {
        "production": {"REVOKED": 1},
        "sandbox": {},
    }
    audited = await mint.database.fetchrow("SELECT subject, details FROM audit_log WHERE action = 'receipts.reconcile'")
    assert audited is not None
    assert audited["subject"] == "App Store"
    assert json.loads(audited["details"])["findings"][0]["missed"] == 1
    api.failures = [400] * 10
    status, _, err = await vyris(database_url, tmp_path, environment)
    assert (status, "refuses the request" in err) == (1, True)


async def test_without_a_key_the_command_says_what_to_set(
    environment: dict[str, str], api: AppStoreApi, database_url: str, tmp_path: Path
) -> None:
    keyless = {name: value for name, value in environment.items() if not name.startswith("APP_STORE_API")}
    status, _, err = await vyris(database_url, tmp_path, keyless)
    assert (status, "APP_STORE_API_KEY" in err) == (1, True)
    status, _, err = await vyris(database_url, tmp_path, {**environment, "APP_STORE_API_KEY_ID": ""})
    assert (status, "set together" in err) == (1, True)


@pytest.mark.parametrize("key", ["no key", "/nowhere/key.p8", "-----BEGIN PRIVATE KEY-----\\nAAAA"])
async def test_a_key_that_is_none_refuses_to_start(settings: ReceiptSettings, key: str) -> None:
    with pytest.raises(WrongSetting, match="APP_STORE_API_KEY"):
        async with ready_kinds(settings.model_copy(update={"app_store_api_key": SecretStr(key)}), production=False):
            pass


async def test_production_asks_apple_and_nobody_else(settings: ReceiptSettings) -> None:
    with pytest.raises(WrongSetting, match="APP_STORE_API_URL"):
        async with ready_kinds(settings, production=True):
            pass
