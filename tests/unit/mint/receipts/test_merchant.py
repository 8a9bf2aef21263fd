"""Merchant receipts: their user, their product and their key."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import jwt
import pytest

from services.identity.jwks import PublishedKeys, p256_key
from services.mint.receipts.merchant import MerchantVerifier
from services.mint.receipts.merchant_signatures import MerchantSignatures
from services.mint.receipts.verified import ReceiptClaim, VerifiedReceipt
from services.mint.refunds.merchant import MerchantNotices
from tests.signers.merchant import ISSUER, MerchantSigner
from vyris.errors import InvalidReceipt, Unauthorized

USER = "auth0|77"


@pytest.fixture
def shop() -> MerchantSigner:
    return MerchantSigner()


@pytest.fixture
def signatures(shop: MerchantSigner, tmp_path: Path) -> MerchantSignatures:
    return MerchantSignatures(PublishedKeys(str(shop.write_jwks(tmp_path)), "the merchant", p256_key), ISSUER, "vyris")


@pytest.fixture
def verifier(signatures: MerchantSignatures) -> MerchantVerifier:
    return MerchantVerifier(signatures)


async def refusal(verifier: MerchantVerifier, receipt: str, user: str = USER, original: str | None = None) -> str:
    assert verifier.recognises(receipt)
    with pytest.raises(InvalidReceipt) as refused:
        await verifier.verify(ReceiptClaim(receipt, user, original))
    return refused.value.message


async def test_a_signed_order_is_accepted_and_names_its_drop(shop: MerchantSigner, verifier: MerchantVerifier) -> None:
    receipt = shop.receipt(USER, jti="order-1", drop="gold:2026")
    verified = await verifier.verify(ReceiptClaim(f"{receipt}\n", USER, "order-1"))
    assert verified == VerifiedReceipt(verified.key, "merchant", "order-1", "production", ("gold", "2026"))


async def test_the_key_is_the_order_and_not_the_text_that_was_signed(
    shop: MerchantSigner, verifier: MerchantVerifier
) -> None:
    texts = [shop.receipt(USER, jti="order-1"), shop.receipt(USER, jti="order-1", iat=1)]
    assert texts[0] != texts[1]
    keys = {(await verifier.verify(ReceiptClaim(text, USER, None))).key for text in texts}
    assert len(keys) == 1
    in_test_mode = await verifier.verify(ReceiptClaim(shop.receipt(USER, jti="order-1", sandbox=True), USER, None))
    assert in_test_mode.key not in keys
    assert in_test_mode.environment == "sandbox"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"iss": "https://elsewhere.test"}, "iss does not name the merchant"),
    ({"iss": None}, "iss is missing"),
    ({"jti": None}, "jti is missing"),
    ({"jti": "j" * 513}, "jti is longer than 512"),
    ({"jti": "a\x00b"}, "jti holds characters"),
    ({"sub": None}, "sub is missing"),
    ({"sub": "somebody else"}, "another account"),
    ({"sub": USER.upper()}, "another account"),
    ({"drop": None}, "drop is missing"),
    ({"drop": "genesis"}, "drop does not have the form"),
    ({"drop": "GENESIS:2025"}, "drop does not have the form"),
    ({"drop": "genesis:1999"}, "drop does not have the form"),
    ({"exp": 4_000_000_000}, "leave exp and nbf out"),
    ({"nbf": 0}, "leave exp and nbf out"),
    ({"event": "REFUND", "transaction": "x"}, "not its receipt"),
    ({"aud": "somebody"}, "aud names somebody else"),
    ({"aud": ["a", "b"]}, "aud names somebody else"),
    ({"sandbox": "no"}, "sandbox is neither"),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED, ids=[str(changes) for changes, _ in REFUSED])
async def test_a_text_that_is_no_order_of_this_user_is_refused_with_a_reason(
    shop: MerchantSigner, verifier: MerchantVerifier, changes: dict[str, Any], reason: str
) -> None:
    assert reason in await refusal(verifier, shop.receipt(USER, **changes))


@pytest.mark.parametrize("audience", ["vyris", ["other", "vyris"]])
async def test_an_audience_may_name_us(shop: MerchantSigner, verifier: MerchantVerifier, audience: Any) -> None:
    assert await verifier.verify(ReceiptClaim(shop.receipt(USER, aud=audience), USER, None))


async def test_original_transaction_id_must_agree_where_it_is_sent(
    shop: MerchantSigner, verifier: MerchantVerifier
) -> None:
    assert "original_transaction_id" in await refusal(verifier, shop.receipt(USER, jti="o-1"), original="o-2")


async def test_a_receipt_by_a_key_that_is_not_published_is_refused(
    shop: MerchantSigner, verifier: MerchantVerifier
) -> None:
    stranger = MerchantSigner()
    assert "not by the expected key" in await refusal(verifier, stranger.receipt(USER))
    stranger.rotate()
    assert "kid names no key" in await refusal(verifier, stranger.receipt(USER))


async def test_an_unsigned_receipt_is_refused(verifier: MerchantVerifier) -> None:
    claims = {"iss": ISSUER, "jti": "o", "sub": USER, "drop": "genesis:2025"}
    assert "alg is not ES256" in await refusal(verifier, jwt.encode(claims, None, algorithm="none"))
    assert "alg is not ES256" in await refusal(verifier, jwt.encode(claims, "s" * 32, algorithm="HS256"))


async def test_a_key_in_the_header_proves_nothing(shop: MerchantSigner, verifier: MerchantVerifier) -> None:
    stranger = MerchantSigner()
    jwk = jwt.algorithms.ECAlgorithm.to_jwk(stranger.keys["key-1"].public_key(), as_dict=True)
    forged = stranger.sign(
        {"iss": ISSUER, "jti": "o", "sub": USER, "drop": "genesis:2025"}, jwk=jwk, jku="https://evil.test/jwks"
    )
    assert "not by the expected key" in await refusal(verifier, forged)


async def test_a_notification_names_its_order_and_its_time(
    shop: MerchantSigner, verifier: MerchantVerifier, signatures: MerchantSignatures
) -> None:
    receipt = await verifier.verify(ReceiptClaim(shop.receipt(USER, jti="o-1"), USER, None))
    notice = await MerchantNotices(signatures).read(shop.notification("REFUND", "o-1", jti="n-1", iat=1_700_000_000.25))
    assert notice.receipt_key == receipt.key
    assert (notice.notification_id, notice.event, notice.transaction_id) == ("n-1", "REFUND", "o-1")
    assert notice.signed_at.timestamp() == 1_700_000_000.25


async def test_a_new_key_under_an_old_name_proves_an_order_at_once(
    shop: MerchantSigner, verifier: MerchantVerifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await verifier.verify(ReceiptClaim(shop.receipt(USER), USER, None))
    renewed = MerchantSigner()
    assert renewed.kid == shop.kid
    assert "signature is not by the expected key" in await refusal(verifier, renewed.receipt(USER))
    renewed.write_jwks(tmp_path)
    monkeypatch.setattr("services.identity.jwks.published_keys.READ_AGAIN_S", 0)
    assert await verifier.verify(ReceiptClaim(renewed.receipt(USER), USER, None))
    assert "signature is not by the expected key" in await refusal(verifier, shop.receipt(USER))


@pytest.mark.parametrize(
    "changes",
    [
        {"event": None},
        {"transaction": None},
        {"iat": None},
        {"iat": "now"},
        {"iat": 1e300},
        {"jti": None},
        {"iss": "https://elsewhere.test"},
        {"aud": "somebody"},
    ],
    ids=str,
)
async def test_a_notification_that_is_not_by_the_merchant_or_says_nothing_is_unauthorized(
    shop: MerchantSigner, signatures: MerchantSignatures, changes: dict[str, Any]
) -> None:
    with pytest.raises(Unauthorized):
        await MerchantNotices(signatures).read(shop.notification("REFUND", "o-1", **changes))


async def test_a_genuine_notification_about_another_thing_changes_nothing(
    shop: MerchantSigner, signatures: MerchantSignatures
) -> None:
    notices = MerchantNotices(signatures)
    assert await notices.read(shop.notification("SHIPPED", "o-1")) is None
    assert await notices.read(shop.notification("SHIPPED", "o-1", transaction=None)) is None
    with pytest.raises(Unauthorized):
        await notices.read(MerchantSigner().notification("SHIPPED", "o-1"))


async def test_a_receipt_is_no_notification(shop: MerchantSigner, signatures: MerchantSignatures) -> None:
    with pytest.raises(Unauthorized):
        await MerchantNotices(signatures).read(shop.receipt(USER))
    with pytest.raises(Unauthorized):
        await MerchantNotices(signatures).read(MerchantSigner().notification("REFUND", str(uuid.uuid4())))
