"""The keys that count for a person, and their spelling."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from services.limits import mailbox
from services.limits.person_keys import key_columns, key_digest
from services.mint.receipts.app_transactions import AppTransactions
from tests.signers.app_store import APP_ID, BUNDLE_ID, AppStoreSigner, now_ms
from vyris.errors import Unauthorized


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
    signer = AppStoreSigner()
    proven = AppTransactions([signer.root.certificate], BUNDLE_ID, APP_ID, online_checks=False)
    claims = {
        "receiptType": "Production",
        "appAppleId": APP_ID,
        "bundleId": BUNDLE_ID,
        "receiptCreationDate": now_ms(),
        "appTransactionId": "704289572111111111",
    }
    assert await proven.account(signer.sign(claims)) == "704289572111111111"
    for wrong in (
        AppStoreSigner().sign(claims),
        signer.sign({**claims, "bundleId": "app.other"}),
        signer.sign({**claims, "receiptType": "Sandbox"}),
        signer.sign({**claims, "appTransactionId": ""}),
        "no.jws.atall",
    ):
        with pytest.raises(Unauthorized):
            await proven.account(wrong)
    proven.close()
