"""What a proven purchase gets through the gateway, and what a refund undoes."""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from typing import Any

import asyncpg
import grpc
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.wallet.opened_pass import OpenedPass, open_pass
from services.wallet.pass_tokens import PassTokens, development_key
from stack.local import Stack
from tests.signers.app_store import APP_ID, BUNDLE_ID, AppStoreSigner, now_ms
from tests.signers.encounter import Signer
from tests.signers.merchant import MerchantSigner
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc

PASS_TYPE = "pass.app.vyris.membership"
EXTERNAL = {"externalPurchaseId": "b2158121", "appAppleId": APP_ID, "bundleId": BUNDLE_ID, "tokenCreationDate": 1}


async def mint(gateway: httpx.AsyncClient, receipt: str, user: str, **more: Any) -> httpx.Response:
    return await gateway.post("/mint", json={"receipt_data": receipt, "user_id": user, **more})


async def notify_app_store(gateway: httpx.AsyncClient, signed_payload: str) -> httpx.Response:
    return await gateway.post("/notifications/app-store", json={"signedPayload": signed_payload})


async def notify_merchant(gateway: httpx.AsyncClient, signed_payload: str) -> httpx.Response:
    return await gateway.post("/notifications/merchant", json={"signed_payload": signed_payload})


def read_refusal(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert body.keys() == {"error", "message", "retryable"}
    return answer.status_code, body["error"]


async def test_50_of_each_of_two_signed_copies_at_once_are_one_membership(
    gateway: httpx.AsyncClient, store: AppStoreSigner, database: asyncpg.Connection
) -> None:
    user, purchase = str(uuid.uuid4()), "700001"
    copies = [
        store.transaction(user, transactionId=purchase, signedDate=now_ms() - 60_000),
        store.transaction(user, transactionId="700002", originalTransactionId=purchase, leaf=store.new_leaf()),
    ]
    answers = await asyncio.gather(*(mint(gateway, receipt, user) for receipt in copies * 50))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["membership"]["id"] for answer in answers}) == 1
    assert [answer.json()["replayed"] for answer in answers].count(False) == 1
    assert await database.fetchval("SELECT count(*) FROM memberships WHERE user_id = $1", user) == 1
    stored = await database.fetchval("SELECT string_agg(l::text, '') FROM receipt_ledger l")
    assert copies[0][-40:] not in stored


async def test_a_purchase_of_another_account_is_used_after_its_mint(
    gateway: httpx.AsyncClient, store: AppStoreSigner, shop: MerchantSigner
) -> None:
    owner, stranger = str(uuid.uuid4()), str(uuid.uuid4())
    for receipt in (store.transaction(owner), shop.receipt(owner)):
        assert read_refusal(await mint(gateway, receipt, stranger)) == (422, "INVALID_RECEIPT")
        assert (await mint(gateway, receipt, owner)).status_code == 201
        assert read_refusal(await mint(gateway, receipt, stranger)) == (409, "RECEIPT_USED")


async def test_a_receipt_that_proves_nothing_is_422_with_a_reason(
    gateway: httpx.AsyncClient, store: AppStoreSigner, shop: MerchantSigner
) -> None:
    user = str(uuid.uuid4())
    stranger = AppStoreSigner()
    receipts = {
        "any text": "Receipts of this form",
        stranger.transaction(user): "not signed by the App Store",
        store.transaction(user, quantity=2): "exactly one",
        store.transaction(str(uuid.uuid4())): "another account",
        store.transaction(user, revocationDate=1): "refunded",
        MerchantSigner().receipt(user): "not by the expected key",
        shop.receipt("somebody"): "another account",
        shop.notification("REFUND", "x", sub=user, drop="genesis:2025"): "not its receipt",
    }
    for receipt, reason in receipts.items():
        answer = await mint(gateway, receipt, user)
        assert read_refusal(answer) == (422, "INVALID_RECEIPT")
        assert reason in answer.json()["message"]
        assert answer.json()["retryable"] is False


async def test_the_product_decides_the_drop(
    gateway: httpx.AsyncClient, store: AppStoreSigner, shop: MerchantSigner
) -> None:
    user = str(uuid.uuid4())
    receipt = store.transaction(user)
    # In the contract's order: shape, then existence, then the receipt.
    assert read_refusal(await mint(gateway, receipt, user, tier="genesis")) == (422, "INVALID_REQUEST")
    assert read_refusal(await mint(gateway, receipt, user, tier="nowhere", year="2025")) == (404, "NOT_FOUND")
    assert read_refusal(await mint(gateway, "rubbish", user, tier="nowhere", year="2025")) == (404, "NOT_FOUND")
    elsewhere = shop.receipt(user, drop="gold:2026")
    answer = await mint(gateway, elsewhere, user, tier="genesis", year="2025")
    assert read_refusal(answer) == (422, "INVALID_RECEIPT")
    assert "not for this product" in answer.json()["message"]
    assert read_refusal(await mint(gateway, elsewhere, user)) == (404, "NOT_FOUND")
    named = await mint(gateway, receipt, user, tier="genesis", year="2025")
    assert named.status_code == 201


async def test_a_sandbox_purchase_mints_from_its_own_supply(
    gateway: httpx.AsyncClient,
    paid_stack: Stack,
    store: AppStoreSigner,
    database: asyncpg.Connection,
    sandbox_drop: int,
) -> None:
    user = str(uuid.uuid4())
    before = (await gateway.get("/drops/genesis/2025")).json()["minted"]
    minted = await mint(gateway, store.transaction(user, environment="Sandbox"), user)
    assert minted.status_code == 201
    environment = await database.fetchval(
        "SELECT environment FROM drops d JOIN memberships m ON m.drop_id = d.id WHERE m.id = $1",
        uuid.UUID(minted.json()["membership"]["id"]),
    )
    assert environment == "sandbox"
    # Each answer marks it; answers about production keep their form.
    membership = minted.json()["membership"]
    assert membership.pop("environment") == "sandbox"
    assert membership.keys() == {"id", "tier", "year", "sequence_num", "pass_serial"}
    asked = {"membership_id": membership["id"], "user_id": user}
    for opened in (
        open_pass((await gateway.post("/issue-pass", json=asked)).content),
        await fetch_pass(gateway, paid_stack, membership["pass_serial"]),
    ):
        header = opened.document["storeCard"]["headerFields"]
        assert ("SANDBOX", "NOT A REAL PURCHASE") in [(field["value"], field["label"]) for field in header]
    supply = (await gateway.get("/drops/genesis/2025", params={"environment": "sandbox"})).json()
    assert (supply["capacity"], supply["minted"], supply["environment"]) == (sandbox_drop, 1, "sandbox")
    assert (await gateway.get("/drops/genesis/2025/live", params={"environment": "sandbox"})).status_code == 200
    await asyncio.sleep(1)
    assert (await gateway.get("/drops/genesis/2025")).json()["minted"] == before
    answers = [await mint(gateway, store.transaction(user, environment="Sandbox"), user) for _ in range(sandbox_drop)]
    assert [answer.status_code for answer in answers] == [201] * (sandbox_drop - 1) + [410]
    real = store.transaction(user)
    paid = (await mint(gateway, real, user)).json()["membership"]
    assert paid.keys() == {"id", "tier", "year", "sequence_num", "pass_serial"}
    issued = await gateway.post("/issue-pass", json={"membership_id": paid["id"], "user_id": user})
    assert b"SANDBOX" not in json.dumps(open_pass(issued.content).document).encode()
    assert "environment" not in (await gateway.get("/drops/genesis/2025")).json()
    for wrong, status in (("moon", 422), ("", 200), ("production", 200)):
        answer = await gateway.get("/drops/genesis/2025", params={"environment": wrong})
        assert answer.status_code == status
    untested = store.transaction(user, environment="Sandbox", productId="app.vyris.untested")
    assert read_refusal(await mint(gateway, untested, user)) == (422, "INVALID_RECEIPT")


@pytest.fixture
def encounter_signer(paid_stack: Stack) -> Any:
    key = load_pem_private_key((paid_stack.state.keys / "encounter_private.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return lambda one, two: Signer(one, two, key)


async def fetch_pass(gateway: httpx.AsyncClient, stack: Stack, serial: str) -> OpenedPass:
    token = PassTokens(development_key(stack.state.keys)).token(uuid.UUID(serial))
    fetched = await gateway.get(f"/v1/passes/{PASS_TYPE}/{serial}", headers={"Authorization": f"ApplePass {token}"})
    assert fetched.status_code == 200, fetched.text
    return open_pass(fetched.content)


async def is_voided(gateway: httpx.AsyncClient, stack: Stack, serial: str) -> bool:
    return bool((await fetch_pass(gateway, stack, serial)).document.get("voided", False))


async def becomes(gateway: httpx.AsyncClient, stack: Stack, serial: str, wanted: bool) -> None:
    deadline = time.monotonic() + 15
    while await is_voided(gateway, stack, serial) is not wanted:
        assert time.monotonic() < deadline, f"the pass did not become voided={wanted}"
        await asyncio.sleep(0.2)


async def test_a_refund_voids_the_pass_and_ends_encounters_and_its_reversal_brings_them_back(
    gateway: httpx.AsyncClient, paid_stack: Stack, store: AppStoreSigner, shop: MerchantSigner, encounter_signer: Any
) -> None:
    ada, ben = str(uuid.uuid4()), "ben"
    receipt = store.transaction(ada, transactionId="800001")
    membership = (await mint(gateway, receipt, ada)).json()["membership"]
    friend = (await mint(gateway, shop.receipt(ben), ben)).json()["membership"]
    asked = {"membership_id": membership["id"], "user_id": ada}
    assert (await gateway.post("/issue-pass", json=asked)).status_code == 200
    signer = encounter_signer(friend["id"], membership["id"])
    assert (await gateway.post("/encounters/verify", json={"token": signer.token()})).status_code == 201
    assert await is_voided(gateway, paid_stack, membership["pass_serial"]) is False

    moment = now_ms()
    notifications = [
        store.notification(event, store.transaction(ada, transactionId="800001"), signedDate=moment + after_ms)
        for event, after_ms in (("REFUND", 1_000), ("REFUND_REVERSED", 2_000), ("REVOKE", 3_000))
    ]
    # The same notifications ten times and out of order.
    arrivals = notifications * 10
    random.Random(7).shuffle(arrivals)
    answers = [await notify_app_store(gateway, arrival) for arrival in arrivals]
    assert {answer.status_code for answer in answers} == {200}
    await becomes(gateway, paid_stack, membership["pass_serial"], True)
    assert read_refusal(await gateway.post("/issue-pass", json=asked)) == (401, "UNAUTHORIZED")
    encounter = await gateway.post("/encounters/verify", json={"token": signer.token()})
    assert read_refusal(encounter) == (401, "UNAUTHORIZED")
    assert read_refusal(await mint(gateway, receipt, ada)) == (422, "INVALID_RECEIPT")

    reversal = store.notification(
        "REFUND_REVERSED", store.transaction(ada, transactionId="800001"), signedDate=moment + 4_000
    )
    assert (await notify_app_store(gateway, reversal)).json() == {"status": "RESTORED"}
    assert [(await notify_app_store(gateway, each)).status_code for each in arrivals[:5]] == [200] * 5
    await becomes(gateway, paid_stack, membership["pass_serial"], False)
    assert (await gateway.post("/encounters/verify", json={"token": signer.token()})).status_code == 201
    replay = await mint(gateway, receipt, ada)
    assert (replay.json()["membership"], replay.json()["replayed"]) == (membership, True)


async def test_a_merchants_refund_revokes_and_a_refund_before_the_mint_is_remembered(
    gateway: httpx.AsyncClient, shop: MerchantSigner
) -> None:
    assert (await mint(gateway, shop.receipt("cleo", jti="order-1"), "cleo")).status_code == 201
    assert (await notify_merchant(gateway, shop.notification("REFUND", "order-1"))).json() == {"status": "REVOKED"}
    assert read_refusal(await mint(gateway, shop.receipt("cleo", jti="order-1"), "cleo")) == (422, "INVALID_RECEIPT")
    assert read_refusal(await mint(gateway, shop.receipt("dora", jti="order-1"), "dora")) == (409, "RECEIPT_USED")
    early = await notify_merchant(gateway, shop.notification("REFUND", "order-2"))
    assert (early.status_code, early.json()) == (200, {"status": "REMEMBERED"})
    assert read_refusal(await mint(gateway, shop.receipt("cleo", jti="order-2"), "cleo")) == (422, "INVALID_RECEIPT")


async def test_a_notification_of_the_shops_test_mode_never_hides_a_real_one(
    gateway: httpx.AsyncClient, shop: MerchantSigner
) -> None:
    assert (await mint(gateway, shop.receipt("finn", jti="order-3"), "finn")).status_code == 201
    tested = await notify_merchant(gateway, shop.notification("REFUND", "order-3", jti="notice-1", sandbox=True))
    assert tested.json() == {"status": "REMEMBERED"}
    real = shop.notification("REFUND", "order-3", jti="notice-1")
    assert [(await notify_merchant(gateway, real)).json() for _ in range(2)] == [{"status": "REVOKED"}] * 2


async def test_a_notification_with_a_bad_signature_is_401_and_changes_nothing(
    gateway: httpx.AsyncClient, store: AppStoreSigner, shop: MerchantSigner, database: asyncpg.Connection
) -> None:
    user = str(uuid.uuid4())
    genuine = store.transaction(user, transactionId="900001")
    assert (await mint(gateway, genuine, user)).status_code == 201
    stranger = AppStoreSigner()
    forged_outside = stranger.notification("REFUND", genuine)
    forged_inside = store.notification("REFUND", stranger.transaction(user, transactionId="900001"))
    mixed = store.notification("REFUND", store.transaction(user, environment="Sandbox"))
    bad_app_store = [
        forged_outside,
        forged_inside,
        mixed,
        genuine,
        store.notification("REFUND", genuine, bundleId="app.somebody.else"),
        store.notification("REFUND", genuine, appAppleId=1),
        store.notification("REFUND", genuine, environment="Xcode"),
        store.notification("REFUND", genuine, environment="LocalTesting"),
        store.notification("REFUND", genuine, notificationUUID=None),
        store.notification("REFUND", genuine, signedDate=None),
        store.notification("REFUND", genuine, data="text"),
        "rubbish",
        "a.b.c",
    ]
    for signed_payload in bad_app_store:
        answer = await notify_app_store(gateway, signed_payload)
        assert answer.status_code == 401, answer.text
        assert read_refusal(answer) == (401, "UNAUTHORIZED")
    for signed_payload in (MerchantSigner().notification("REFUND", "900001"), shop.receipt(user), "rubbish"):
        assert read_refusal(await notify_merchant(gateway, signed_payload)) == (401, "UNAUTHORIZED")
    for path in ("/notifications/app-store", "/notifications/merchant"):
        for body in (
            {},
            {"signedPayload": ""},
            {"signedPayload": " "},
            {"signedPayload": 7},
            {"signedPayload": "x" * 50_000},
            {"signedPayload": "é" * 25_000},
        ):
            text = json.dumps(body, ensure_ascii=False)
            answer = await gateway.post(path, content=text.encode(), headers={"content-type": "application/json"})
            assert read_refusal(answer) == (422, "INVALID_REQUEST"), answer.text
    state = await database.fetchval("SELECT state::text FROM receipt_ledger WHERE transaction_id = '900001'")
    assert state == "FULFILLED"


async def test_notifications_about_other_things_are_accepted_and_change_nothing(
    gateway: httpx.AsyncClient, store: AppStoreSigner, database: asyncpg.Connection
) -> None:
    user = str(uuid.uuid4())
    transaction = store.transaction(user, transactionId="910001")
    assert (await mint(gateway, transaction, user)).status_code == 201
    family = store.transaction(user, transactionId="910001", inAppOwnershipType="FAMILY_SHARED")
    for signed_payload in (
        store.notification("TEST", transaction),
        store.notification("CONSUMPTION_REQUEST", transaction),
        store.notification("SOMETHING_NEW", transaction),
        store.notification("REVOKE", family),
        store.notification("EXTERNAL_PURCHASE_TOKEN", transaction, data=None, externalPurchaseToken=EXTERNAL),
        store.notification("RENEWAL_EXTENSION", transaction, data=None, summary={"bundleId": BUNDLE_ID}),
        store.notification("RESCIND_CONSENT", transaction, data=None, appData={"bundleId": BUNDLE_ID}),
        store.notification("SOMETHING_NEW", transaction, data=None, somethingNew={"a": [1]}),
        store.notification("TEST", transaction, environment="Sandbox"),
    ):
        answer = await notify_app_store(gateway, signed_payload)
        assert (answer.status_code, answer.json()) == (200, {"status": "IGNORED"}), answer.text
    state = await database.fetchval("SELECT state::text FROM receipt_ledger WHERE transaction_id = '910001'")
    assert state == "FULFILLED"


async def test_a_refund_of_a_product_that_is_not_listed_yet_is_remembered(
    gateway: httpx.AsyncClient, store: AppStoreSigner, database: asyncpg.Connection
) -> None:
    user = str(uuid.uuid4())
    coins = store.transaction(user, productId="app.vyris.later", transactionId="920001")
    for event in ("REVOKE", "REFUND_REVERSED", "REFUND"):
        assert (await notify_app_store(gateway, store.notification(event, coins))).status_code == 200
    state = await database.fetchval("SELECT state::text FROM receipt_ledger WHERE transaction_id = '920001'")
    assert state == "REFUNDED"
    # Now the product is listed, under the same purchase: an earlier version let it mint.
    listed = store.transaction(user, transactionId="920001")
    assert read_refusal(await mint(gateway, listed, user)) == (422, "INVALID_RECEIPT")


async def test_native_grpc_takes_notifications_too(paid_stack: Stack, shop: MerchantSigner) -> None:
    async with grpc.aio.insecure_channel(paid_stack.gateway_grpc_target) as channel:
        mint_service = mint_pb2_grpc.MintServiceStub(channel)
        request = mint_pb2.NotifyMerchantRequest(signed_payload=shop.notification("REFUND", "order-grpc"))
        assert (await mint_service.NotifyMerchant(request)).status == "REMEMBERED"
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await mint_service.NotifyAppStore(mint_pb2.NotifyAppStoreRequest(signed_payload="rubbish"))
        assert refusal.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_neither_receipts_nor_notifications_are_in_any_log(
    gateway: httpx.AsyncClient, paid_stack: Stack, store: AppStoreSigner, shop: MerchantSigner
) -> None:
    user = str(uuid.uuid4())
    texts = [store.transaction(user), shop.receipt(user), AppStoreSigner().transaction(user)]
    for text in texts:
        await mint(gateway, text, user)
    texts += [store.notification("REFUND", texts[0]), shop.notification("REFUND", "order-log")]
    await notify_app_store(gateway, texts[3])
    await notify_merchant(gateway, texts[4])
    await asyncio.sleep(0.5)
    logs = "".join(path.read_text(errors="replace") for path in paid_stack.state.logs.iterdir())
    assert "notice" in logs
    for text in texts:
        assert text.split(".")[1][:60] not in logs
        assert text.split(".")[2][:40] not in logs
