"""The keys that count for a person, and their spelling."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.limits import mailbox
from services.limits.person_keys import key_columns, key_digest
from services.mint.receipts.app_store_signatures import AppStoreSignatures, _AppleChains
from services.mint.receipts.app_transactions import AppTransactions
from tests.signers.app_store import APP_ID, BUNDLE_ID, AppStoreSigner, now_ms
from vyris.errors import Retryable, Unauthorized

ACCOUNT = "704289572111111111"
NO_RESPONDER = "http://127.0.0.1:1/ocsp"


def app_transaction(**changes: Any) -> dict[str, Any]:
    """The claims of a genuine AppTransaction."""
    return {
        "receiptType": "Production",
        "appAppleId": APP_ID,
        "bundleId": BUNDLE_ID,
        "receiptCreationDate": now_ms(),
        "appTransactionId": ACCOUNT,
        **changes,
    }


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("Ada@Example.org", "ada@example.org"),
        ("a.d.a+night@gmail.com", "ada@gmail.com"),
        ("ada@GoogleMail.com", "ada@gmail.com"),
        ("Wei\u00df@example.org", "wei\u00df@example.org"),  # weiss@example.org may be somebody else
        ("a.da+night@example.org", "a.da+night@example.org"),  # it is not known whether this provider ignores them
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ada", None),
        ("@example.org", None),
        ("ada@", None),
        ("+x@gmail.com", None),
        ("a da@example.org", None),
        ("", None),
    ],
)
def test_one_mailbox_has_one_spelling(address: str, counted: str | None) -> None:
    assert mailbox(address) == counted


def test_a_digest_is_the_hmac_of_kind_and_value_under_the_drops_secret() -> None:
    secret = bytes(range(32))
    assert key_digest(secret, "user", "ada") == hmac.new(secret, b"userada", hashlib.sha256).digest()
    assert key_digest(secret, "user", "ada") != key_digest(bytes(32), "user", "ada")
    assert key_columns([[], []]) == ([], [], [])


async def test_an_app_transaction_proves_one_store_account() -> None:
    signer, claims = AppStoreSigner(), app_transaction()
    signatures = AppStoreSignatures([signer.root.certificate], BUNDLE_ID, APP_ID, online_checks=False)
    proven = AppTransactions(signatures)
    assert await proven.account(signer.sign(claims)) == ACCOUNT
    for wrong in (
        AppStoreSigner().sign(claims),
        signer.sign({**claims, "bundleId": "app.other"}),
        signer.sign({**claims, "receiptType": "Sandbox"}),
        signer.sign({**claims, "appTransactionId": ""}),
        signer.sign({**claims, "appAppleId": APP_ID + 1}),
        signer.sign({**claims, "receiptCreationDate": None}),
        signer.sign({**claims, "receiptCreationDate": now_ms() - 30 * 86_400_000}),  # before the certificates
        signer.transaction("a0e6a2f0-0000-4000-8000-000000000001"),
        "no.jws.atall",
    ):
        with pytest.raises(Unauthorized):
            await proven.account(wrong)
    signatures.close()


async def test_a_chain_is_proven_once_for_all_app_transactions_that_it_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    signer, proofs = AppStoreSigner(), []
    prove_chain = _AppleChains.prove_chain

    def count_proof(self: _AppleChains, chain: Any, moment_s: float) -> None:
        proofs.append(chain)
        prove_chain(self, chain, moment_s)

    monkeypatch.setattr(_AppleChains, "prove_chain", count_proof)
    signatures = AppStoreSignatures([signer.root.certificate], BUNDLE_ID, APP_ID, online_checks=False)
    proven = AppTransactions(signatures)
    for n in range(5):
        signed = signer.sign(app_transaction(appTransactionId=f"account {n}"))
        assert await proven.account(signed) == f"account {n}"
    assert len(proofs) == 1
    signatures.close()


@pytest.mark.parametrize("online_checks", [False, True])
async def test_an_app_transaction_is_judged_by_its_own_date(online_checks: bool) -> None:
    """A phone keeps it for years, and OCSP does not answer about certificates that have expired since."""
    began = datetime.now(UTC) - timedelta(days=20)
    signer = AppStoreSigner(valid_from=began, days=10, ocsp_url=NO_RESPONDER)
    signatures = AppStoreSignatures([signer.root.certificate], BUNDLE_ID, APP_ID, online_checks=online_checks)
    proven = AppTransactions(signatures)
    kept = app_transaction(receiptCreationDate=now_ms() - 15 * 86_400_000)
    assert await proven.account(signer.sign(kept)) == ACCOUNT
    with pytest.raises(Unauthorized):
        await proven.account(signer.sign(app_transaction()))
    signatures.close()


async def test_with_online_checks_apple_is_asked_about_valid_certificates() -> None:
    signer = AppStoreSigner(ocsp_url=NO_RESPONDER)
    signatures = AppStoreSignatures([signer.root.certificate], BUNDLE_ID, APP_ID, online_checks=True)
    with pytest.raises(Retryable):
        await AppTransactions(signatures).account(signer.sign(app_transaction()))
    signatures.close()
