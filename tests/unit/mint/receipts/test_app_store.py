"""App Store receipts under certificates of Apple's form, verified by Apple's library with its strict checks on."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from services.mint.receipts.app_store import AppStoreVerifier
from services.mint.receipts.app_store_signatures import AppStoreSignatures, _AppleChains
from services.mint.receipts.verified import ReceiptClaim, VerifiedReceipt
from services.mint.receipts.verifiers import ReceiptVerifiers
from services.mint.refunds.app_store import AppStoreNotices
from tests.signers.app_store import APP_ID, BUNDLE_ID, PRODUCT, AppStoreSigner, now_ms, transaction_claims
from vyris.errors import InvalidReceipt, Retryable, Unauthorized

USER = "2c1f6f4e-6b0c-4f0e-9a56-1d2f3a4b5c6d"


@pytest.fixture(scope="module")
def store() -> AppStoreSigner:
    return AppStoreSigner()


def verifier_of(store: AppStoreSigner, **settings: Any) -> AppStoreVerifier:
    signatures = AppStoreSignatures([store.root.certificate], BUNDLE_ID, APP_ID, online_checks=False)
    return AppStoreVerifier(signatures, {PRODUCT: ("genesis", "2025")}, **settings)


@pytest.fixture
async def verifier(store: AppStoreSigner) -> AsyncIterator[AppStoreVerifier]:
    made = verifier_of(store)
    yield made
    made._signatures.close()


async def verify(verifier: AppStoreVerifier, receipt: str, user: str = USER, original: str | None = None) -> Any:
    """Verify a receipt that has not minted."""
    return await ReceiptVerifiers([verifier], nothing_minted).verify(ReceiptClaim(receipt, user, original))


async def nothing_minted(key: bytes) -> None:
    """The ledger's answer for a receipt that has not minted."""


async def refusal(verifier: AppStoreVerifier, receipt: str, user: str = USER, original: str | None = None) -> str:
    """The reason of the refusal: at the first attempt, and again after the chain is proven."""
    assert verifier.recognises(receipt)
    with pytest.raises(InvalidReceipt) as first:
        await verify(verifier, receipt, user, original)
    return first.value.message


@pytest.fixture
def prove_chain(store: AppStoreSigner, verifier: AppStoreVerifier) -> Any:
    async def prove() -> None:
        await verify(verifier, store.transaction(USER))

    return prove


async def test_a_genuine_purchase_is_accepted_and_names_its_drop(
    store: AppStoreSigner, verifier: AppStoreVerifier
) -> None:
    receipt = store.transaction(USER, transactionId="1000")
    first = await verify(verifier, receipt)
    assert first == VerifiedReceipt(first.key, "app-store", "1000", "production", ("genesis", "2025"))
    assert await verify(verifier, f" {receipt}\n", USER.upper(), "1000") == first


async def test_the_key_is_the_purchase_and_not_the_text_that_was_signed(
    store: AppStoreSigner, verifier: AppStoreVerifier
) -> None:
    other_leaf = store.new_leaf()
    restored = [
        store.transaction(USER, transactionId="2000", signedDate=now_ms() - 5_000),
        store.transaction(USER, transactionId="2001", originalTransactionId="2000", leaf=other_leaf),
    ]
    assert restored[0] != restored[1]
    keys = {(await verify(verifier, receipt)).key for receipt in restored}
    assert len(keys) == 1
    bought_again = store.transaction(USER, transactionId="2001", originalTransactionId="2000", type="Consumable")
    assert (await verify(verifier, bought_again)).key not in keys
    in_sandbox = store.transaction(USER, transactionId="2000", environment="Sandbox")
    assert (await verify(verifier, in_sandbox)).key not in keys


async def test_a_sandbox_purchase_is_marked_or_refused(store: AppStoreSigner, verifier: AppStoreVerifier) -> None:
    receipt = store.transaction(USER, environment="Sandbox")
    assert (await verify(verifier, receipt)).environment == "sandbox"
    strict = verifier_of(store, accepts_sandbox=False)
    assert "test purchase" in await refusal(strict, receipt)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"bundleId": "app.somebody.else"}, "another app"),
    ({"environment": "Xcode"}, "developer's machine"),
    ({"environment": "LocalTesting"}, "developer's machine"),
    ({"environment": "Moon"}, "none of the App Store's environments"),
    ({"environment": ["Production"]}, "none of the App Store's environments"),
    ({"environment": {}}, "none of the App Store's environments"),
    ({"environment": None}, "none of the App Store's environments"),
    ({"revocationDate": 1_700_000_000_000}, "refunded or revoked"),
    ({"revocationReason": 0}, "refunded or revoked"),
    ({"inAppOwnershipType": "FAMILY_SHARED"}, "shared by a family member"),
    ({"inAppOwnershipType": "SOMETHING_NEW"}, "does not say that this account made the purchase"),
    ({"inAppOwnershipType": None}, "does not say that this account made the purchase"),
    ({"quantity": 2}, "exactly one"),
    ({"quantity": "1"}, "exactly one"),
    ({"quantity": True}, "exactly one"),
    ({"quantity": None}, "exactly one"),
    ({"productId": "app.vyris.coins"}, "another product"),
    ({"type": "Auto-Renewable Subscription"}, "another product"),
    ({"type": None}, "another product"),
    ({"appAccountToken": str(uuid.UUID(int=7))}, "another account"),
    ({"appAccountToken": None}, "names no account"),
    ({"appAccountToken": "not-a-uuid"}, "names no account"),
    ({"transactionId": "x" * 1_025}, "transactionId does not have"),
    ({"transactionId": ""}, "transactionId does not have"),
    ({"transactionId": "a\x00b"}, "transactionId does not have"),
    ({"originalTransactionId": 7}, "originalTransactionId does not have"),
    ({"originalTransactionId": None}, "originalTransactionId does not have"),
    ({"signedDate": None}, "does not say when"),
    ({"signedDate": -1}, "does not say when"),
]


@pytest.mark.parametrize("proven", [False, True], ids=["unknown chain", "proven chain"])
@pytest.mark.parametrize(("changes", "reason"), REFUSED, ids=[str(changes) for changes, _ in REFUSED])
async def test_a_purchase_that_is_no_membership_of_this_user_is_refused_with_a_reason(
    store: AppStoreSigner,
    verifier: AppStoreVerifier,
    prove_chain: Any,
    proven: bool,
    changes: dict[str, Any],
    reason: str,
) -> None:
    if proven:
        await prove_chain()
    receipt = store.transaction(USER, **changes)
    message = await refusal(verifier, receipt)
    assert reason in message
    for value in changes.values():
        assert not isinstance(value, str) or len(value) < 3 or value not in message


async def test_original_transaction_id_must_agree_where_it_is_sent(
    store: AppStoreSigner, verifier: AppStoreVerifier
) -> None:
    receipt = store.transaction(USER, transactionId="3000")
    assert "original_transaction_id" in await refusal(verifier, receipt, original="3001")


async def test_users_without_uuids_are_known_by_a_name_based_one(store: AppStoreSigner) -> None:
    namespace = uuid.UUID("5f2b1e0c-51bb-4a4c-8f2c-6a7b8c9d0e1f")
    verifier = verifier_of(store, account_namespace=namespace)
    receipt = store.transaction(str(uuid.uuid5(namespace, "auth0|77")))
    assert (await verify(verifier, receipt, "auth0|77")).kind == "app-store"
    assert "another account" in await refusal(verifier, receipt, "auth0|78")
    assert "another account" in await refusal(verifier_of(store), receipt, "auth0|77")


@pytest.mark.parametrize("user", [uuid.UUID(USER).hex, f"{{{USER}}}", f"urn:uuid:{USER}", f" {USER}"])
async def test_a_user_id_that_an_app_cannot_read_as_a_uuid_is_known_by_a_name_based_one(
    store: AppStoreSigner, user: str
) -> None:
    namespace = uuid.UUID("5f2b1e0c-51bb-4a4c-8f2c-6a7b8c9d0e1f")
    verifier = verifier_of(store, account_namespace=namespace)
    assert await verify(verifier, store.transaction(str(uuid.uuid5(namespace, user))), user)
    assert "another account" in await refusal(verifier, store.transaction(str(uuid.uuid5(namespace, USER))), USER)


@pytest.mark.parametrize("proven", [False, True], ids=["unknown chain", "proven chain"])
async def test_a_forged_signature_under_a_genuine_chain_is_refused(
    store: AppStoreSigner, verifier: AppStoreVerifier, prove_chain: Any, proven: bool
) -> None:
    if proven:
        await prove_chain()
    forged = store.sign(transaction_claims(USER), by=ec.generate_private_key(ec.SECP256R1()))
    assert "not signed by the App Store" in await refusal(verifier, forged)
    header, payload, signature = store.transaction(USER).split(".")
    other = store.transaction(USER).split(".")[1]
    assert "not signed by the App Store" in await refusal(verifier, f"{header}.{other}.{signature}")
    assert payload != other


@pytest.mark.parametrize("environment", ["Production", "Xcode", "LocalTesting"])
async def test_an_unsigned_receipt_is_refused(
    store: AppStoreSigner, verifier: AppStoreVerifier, environment: str
) -> None:
    claims = transaction_claims(USER, environment=environment)
    unsigned = jwt.encode(claims, None, algorithm="none", headers={"x5c": store.chain()})
    assert "alg is not ES256" in await refusal(verifier, unsigned)


async def test_a_receipt_signed_with_a_shared_secret_is_refused(
    store: AppStoreSigner, verifier: AppStoreVerifier
) -> None:
    shared = jwt.encode(transaction_claims(USER), "s" * 32, algorithm="HS256", headers={"x5c": store.chain()})
    assert "alg is not ES256" in await refusal(verifier, shared)


async def test_a_chain_that_leads_to_another_root_is_refused(verifier: AppStoreVerifier) -> None:
    same_names = AppStoreSigner()
    assert "not signed by the App Store" in await refusal(verifier, same_names.transaction(USER))
    other_names = AppStoreSigner(name="Somebody")
    assert "not signed by the App Store" in await refusal(verifier, other_names.transaction(USER))


async def test_the_leaf_of_a_proven_chain_does_not_vouch_for_another_leaf(
    store: AppStoreSigner, verifier: AppStoreVerifier, prove_chain: Any
) -> None:
    await prove_chain()
    stranger = AppStoreSigner()
    chain = [stranger.chain()[0], *store.chain()[1:]]
    forged = jwt.encode(transaction_claims(USER), stranger.leaf.key, algorithm="ES256", headers={"x5c": chain})
    assert "not signed by the App Store" in await refusal(verifier, forged)


@pytest.mark.parametrize("proven", [False, True], ids=["unknown chain", "proven chain"])
async def test_a_chain_that_had_expired_when_it_signed_is_refused(proven: bool) -> None:
    old = AppStoreSigner(valid_from=datetime.now(UTC) - timedelta(days=20), days=10)
    verifier = verifier_of(old)
    while_valid = now_ms() - 15 * 86_400_000
    if proven:
        # Signed while the chain was valid, and sent long after: genuine.
        await verify(verifier, old.transaction(USER, signedDate=while_valid))
    assert "was not valid at that time" in await refusal(verifier, old.transaction(USER))
    too_early = old.transaction(USER, signedDate=now_ms() - 30 * 86_400_000)
    assert "was not valid at that time" in await refusal(verifier, too_early)


async def test_certificates_without_apples_marks_are_refused(store: AppStoreSigner) -> None:
    unmarked = AppStoreSigner()
    unmarked.leaf = unmarked._issue("No mark", ec.SECP256R1(), unmarked.intermediate, None, leaf=True)
    assert "not signed by the App Store" in await refusal(verifier_of(unmarked), unmarked.transaction(USER))


@pytest.mark.parametrize(
    "chain", [[], ["x"], ["x", "y", "z"], [1, 2, 3], "text", None, [["a"], "b", "c"], ["A" * 5000] * 3]
)
async def test_a_header_that_brings_no_three_certificates_is_refused(
    store: AppStoreSigner, verifier: AppStoreVerifier, chain: Any
) -> None:
    receipt = jwt.encode(transaction_claims(USER), store.leaf.key, algorithm="ES256", headers={"x5c": chain})
    assert "App Store" in await refusal(verifier, receipt)


def raw(header: Any, payload: bytes, store: AppStoreSigner) -> str:
    def encode(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    text = f"{encode(json.dumps(header).encode())}.{encode(payload)}"
    signature = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(text.encode(), store.leaf.key)
    return f"{text}.{encode(signature)}"


@pytest.mark.parametrize("payload", [b"[]", b"null", b"{", b'{"a":1,"a":2}', b"\xff", b'{"bundleId":"\\ud800"}', b"{}"])
async def test_a_payload_that_is_no_plain_object_is_refused(
    store: AppStoreSigner, verifier: AppStoreVerifier, payload: bytes
) -> None:
    await refusal(verifier, raw({"alg": "ES256", "x5c": store.chain()}, payload, store))


async def test_a_text_with_a_second_spelling_is_refused(store: AppStoreSigner, verifier: AppStoreVerifier) -> None:
    receipt = store.transaction(USER)
    await verify(verifier, receipt)
    assert "base64url" in await refusal(verifier, receipt + "==")


async def test_a_chain_is_proven_once_for_all_receipts_that_it_signs(
    store: AppStoreSigner, verifier: AppStoreVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = count_proofs(monkeypatch)
    receipts = [store.transaction(USER) for _ in range(50)]
    await asyncio.gather(*(verify(verifier, receipt) for receipt in receipts))
    assert len(proven) == 1


def count_proofs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The chains that Apple's library checks from now on."""
    proven = []
    genuine = _AppleChains.prove_chain

    def count_proof(self: _AppleChains, chain: Any, moment_s: float) -> None:
        proven.append(chain)
        genuine(self, chain, moment_s)

    monkeypatch.setattr(_AppleChains, "prove_chain", count_proof)
    return proven


def words(message: str) -> Iterator[str]:
    yield from re.findall(r"[A-Za-z_]+", message)


@pytest.mark.parametrize("changes", [{"quantity": {}}, {"revocationReason": []}], ids=str)
async def test_signed_claims_of_the_wrong_type_are_refused(
    store: AppStoreSigner, verifier: AppStoreVerifier, changes: dict[str, Any]
) -> None:
    await refusal(verifier, store.transaction(USER, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"environment": ["Production"]}},
        {"data": {"environment": "Production", "bundleId": BUNDLE_ID, "appAppleId": "x"}},
        {"data": "text"},
        {"data": None},
        {"notificationType": None},
        {"notificationType": 7},
        {"signedDate": "x"},
        {"signedDate": 10**30},
    ],
    ids=str,
)
async def test_a_notification_of_another_form_is_unauthorized(store: AppStoreSigner, changes: dict[str, Any]) -> None:
    signatures = AppStoreSignatures([store.root.certificate], BUNDLE_ID, APP_ID, online_checks=False)
    notification = store.notification("REFUND", store.transaction(USER), **changes)
    with pytest.raises(Unauthorized):
        await AppStoreNotices(signatures).read(notification)
    signatures.close()


def with_a_copied_root(genuine: AppStoreSigner, forger: AppStoreSigner, copied: int = 1) -> list[str]:
    """The forger's chain with the last `copied` certificates of the genuine one."""
    return [*forger.chain()[: 3 - copied], *genuine.chain()[3 - copied :]]


@pytest.mark.parametrize("copied", [1, 2], ids=["the root", "root and intermediate"])
async def test_a_chain_that_copies_genuine_certificates_is_refused(
    store: AppStoreSigner, verifier: AppStoreVerifier, copied: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = count_proofs(monkeypatch)
    forger = AppStoreSigner()
    chain = with_a_copied_root(store, forger, copied)
    for _ in range(3):
        forged = jwt.encode(transaction_claims(USER), forger.leaf.key, algorithm="ES256", headers={"x5c": chain})
        assert "not signed by the App Store" in await refusal(verifier, forged)
    assert len(proven) == 1  # a chain that failed is not checked again


async def test_cheap_refusals_come_before_the_proof_of_a_chain(
    store: AppStoreSigner, verifier: AppStoreVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = count_proofs(monkeypatch)
    stranger = ec.generate_private_key(ec.SECP256R1())
    forged = [
        AppStoreSigner().transaction(USER),  # a root that is none of ours
        AppStoreSigner(name="Somebody").transaction(USER),
        store.sign(transaction_claims(USER), by=stranger),  # a genuine chain, copied
        store.transaction(USER, bundleId="app.somebody.else"),
        store.transaction(USER, signedDate=now_ms() + 400 * 86_400_000),
        jwt.encode(transaction_claims(USER), stranger, algorithm="ES256", headers={"x5c": store.chain()[:2]}),
        jwt.encode(transaction_claims(USER), stranger, algorithm="ES256", headers={"x5c": ["A" * 5_000] * 3}),
    ]
    for receipt in forged:
        await refusal(verifier, receipt)
    assert proven == []
    # Copies do no harm to the genuine chain.
    assert (await verify(verifier, store.transaction(USER))).kind == "app-store"


GENUINE_OF_OTHER_KINDS: dict[str, dict[str, Any]] = {
    "TEST": {},
    "CONSUMPTION_REQUEST": {},
    "REFUND_DECLINED": {},
    "ONE_TIME_CHARGE": {},
    "SOMETHING_NEW": {"subtype": "SOMETHING_NEWER", "anUnknownField": [1, {"a": 2}]},
    "DID_RENEW": {"subtype": ["not", "even", "a", "text"]},
    "EXTERNAL_PURCHASE_TOKEN": {
        "data": None,
        "externalPurchaseToken": {
            "externalPurchaseId": "b2158121-7af9-49d4-9561-1f588205523e",
            "tokenCreationDate": 1_700_000_000_000,
            "appAppleId": APP_ID,
            "bundleId": BUNDLE_ID,
        },
    },
    "EXTERNAL_PURCHASE_TOKEN in the sandbox": {
        "data": None,
        "externalPurchaseToken": {"externalPurchaseId": "SANDBOX_b2158121", "bundleId": BUNDLE_ID},
    },
    "RENEWAL_EXTENSION": {
        "data": None,
        "subtype": "SUMMARY",
        "summary": {
            "requestIdentifier": "1",
            "environment": "Sandbox",
            "bundleId": BUNDLE_ID,
            "productId": "p",
            "succeededCount": 1,
        },
    },
    "RESCIND_CONSENT": {
        "data": None,
        "appData": {"appAppleId": APP_ID, "bundleId": BUNDLE_ID, "environment": "Production"},
    },
    "A_PART_NOBODY_KNOWS": {"data": None, "futureData": {"environment": "Moon"}},
    "AN_ENVIRONMENT_NOBODY_KNOWS": {"environment": "Moon"},
}


@pytest.mark.parametrize("proven", [False, True], ids=["unknown chain", "proven chain"])
@pytest.mark.parametrize("kind", GENUINE_OF_OTHER_KINDS)
async def test_a_genuine_notification_that_is_not_about_money_changes_nothing(
    store: AppStoreSigner, kind: str, proven: bool
) -> None:
    signatures = AppStoreSignatures([store.root.certificate], BUNDLE_ID, APP_ID, online_checks=False)
    notices = AppStoreNotices(signatures)
    changes = GENUINE_OF_OTHER_KINDS[kind]
    if proven:
        await signatures.transaction(store.transaction(USER))
    assert await notices.read(store.notification(kind.partition(" ")[0], store.transaction(USER), **changes)) is None
    with pytest.raises(Unauthorized, match="not signed"):
        await notices.read(AppStoreSigner().notification(kind, store.transaction(USER), **changes))
    forged = store.sign(
        {"notificationType": kind, "signedDate": now_ms(), **changes}, by=ec.generate_private_key(ec.SECP256R1())
    )
    with pytest.raises(Unauthorized, match="not signed"):
        await notices.read(forged)
    signatures.close()


@pytest.mark.parametrize("part", ["summary", "externalPurchaseToken", "appData", "data"])
@pytest.mark.parametrize("change", [{"bundleId": "app.somebody.else"}, {"appAppleId": 1}, {"appAppleId": "x"}], ids=str)
async def test_a_notification_of_any_kind_for_another_app_is_unauthorized(
    store: AppStoreSigner, part: str, change: dict[str, Any]
) -> None:
    signatures = AppStoreSignatures([store.root.certificate], BUNDLE_ID, APP_ID, online_checks=False)
    subject = {part: {"bundleId": BUNDLE_ID, "appAppleId": APP_ID, "environment": "Production", **change}}
    notification = store.notification("SOMETHING", store.transaction(USER), **{"data": None, **subject})
    with pytest.raises(Unauthorized, match="another app"):
        await AppStoreNotices(signatures).read(notification)
    signatures.close()


async def test_with_online_checks_an_unreachable_responder_means_retryable_not_refused() -> None:
    store = AppStoreSigner(ocsp_url="http://127.0.0.1:1/ocsp")
    signatures = AppStoreSignatures([store.root.certificate], BUNDLE_ID, APP_ID, online_checks=True)
    verifier = AppStoreVerifier(signatures, {PRODUCT: ("genesis", "2025")})
    receipt = store.transaction(USER)
    for _ in range(2):
        with pytest.raises(Retryable):
            await verify(verifier, receipt)
    # A receipt that has minted needs no new check by Apple.
    replayed = await ReceiptVerifiers([verifier], minted_in_drop_7).verify(ReceiptClaim(receipt, USER, None))
    assert replayed.minted_in == 7
    with pytest.raises(Retryable):
        await AppStoreNotices(signatures).read(store.notification("REFUND", receipt))
    signatures.close()


async def minted_in_drop_7(key: bytes) -> int:
    """The ledger's answer for a receipt that has minted."""
    return 7


async def test_with_online_checks_a_certificate_that_expired_since_is_judged_by_the_signing_date() -> None:
    old = AppStoreSigner(valid_from=datetime.now(UTC) - timedelta(days=20), days=10, ocsp_url="http://127.0.0.1:1/ocsp")
    signatures = AppStoreSignatures([old.root.certificate], BUNDLE_ID, APP_ID, online_checks=True)
    verifier = AppStoreVerifier(signatures, {PRODUCT: ("genesis", "2025")})
    while_valid = now_ms() - 15 * 86_400_000
    assert (await verify(verifier, old.transaction(USER, signedDate=while_valid))).kind == "app-store"
    assert "was not valid at that time" in await refusal(verifier, old.transaction(USER))
    refund = old.notification("REFUND", old.transaction(USER, signedDate=while_valid), signedDate=while_valid)
    assert await AppStoreNotices(signatures).read(refund) is not None
    signatures.close()


async def test_a_receipt_that_has_minted_is_accepted_under_any_settings(store: AppStoreSigner) -> None:
    signatures = AppStoreSignatures([store.root.certificate], BUNDLE_ID, APP_ID, online_checks=False)
    verifier = AppStoreVerifier(signatures, {"app.vyris.other": ("gold", "2026")}, accepts_sandbox=False)
    for receipt in (store.transaction(USER), store.transaction(USER, environment="Sandbox")):
        await refusal(verifier, receipt)
        replayed = await ReceiptVerifiers([verifier], minted_in_drop_7).verify(ReceiptClaim(receipt, USER, None))
        assert replayed.minted_in == 7
    for refused in (store.transaction(USER, revocationDate=1), AppStoreSigner().transaction(USER)):
        with pytest.raises(InvalidReceipt):
            await ReceiptVerifiers([verifier], minted_in_drop_7).verify(ReceiptClaim(refused, USER, None))
    signatures.close()


@pytest.mark.parametrize("purchase", ["9" * 1_024, "ä" * 512, "with spaces\tand tabs", "\u200b"])
async def test_apples_ids_are_opaque(store: AppStoreSigner, verifier: AppStoreVerifier, purchase: str) -> None:
    receipt = store.transaction(USER, transactionId=purchase)
    assert (await verify(verifier, receipt, original=purchase)).transaction_id == purchase


async def test_no_refusal_echoes_the_receipt(store: AppStoreSigner, verifier: AppStoreVerifier) -> None:
    secret = "SECRETWORDOFTHECALLER"
    for changes in ({"bundleId": secret}, {"environment": secret}, {"productId": secret}, {"appAccountToken": secret}):
        message = await refusal(verifier, store.transaction(USER, **changes))
        assert secret not in message
        assert len(list(words(message))) > 5
