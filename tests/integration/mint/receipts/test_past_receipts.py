"""A receipt that has minted is answered for ever, also after changes of keys, settings and drops."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from services.mint.ledger import MintOrder
from services.mint.receipt_kinds import ready_kinds
from services.mint.receipts.settings import ReceiptSettings
from services.mint.receipts.verified import ReceiptClaim
from services.mint.receipts.verifiers import ReceiptVerifiers
from tests.signers.merchant import ISSUER, MerchantSigner
from tests.stand_ins.mint_engine import Mint, MintMaker
from vyris.errors import InvalidReceipt, ReceiptUsed, Retryable

Sent = Callable[..., Awaitable[Any]]


def sender(mint: Mint, folder: Path) -> Sent:
    """Sends a receipt to a new process, with the keys that the shop publishes at that time."""

    async def send(published: MerchantSigner | str, receipt: str, user: str = "ivy", **settings: Any) -> Any:
        jwks = published if isinstance(published, str) else str(published.write_jwks(folder))
        changed = ReceiptSettings(
            **{"receipt_kinds": "merchant", "merchant_issuer": ISSUER, "merchant_jwks": jwks, **settings}
        )
        async with ready_kinds(changed, production=False, database=mint.database) as kinds:
            verifiers = ReceiptVerifiers(kinds.verifiers, mint.engine.minted_in)
            verified = await verifiers.verify(ReceiptClaim(receipt, user, None))
            return await mint.mint_order(MintOrder(verified, user, None, None))

    return send


@pytest.fixture
def old() -> MerchantSigner:
    return MerchantSigner()


@pytest.fixture
def new() -> MerchantSigner:
    """The shop after a rotation: the old key is withdrawn."""
    shop = MerchantSigner()
    shop.keys = {}
    shop.rotate()
    shop.keys = {"key-new": ec.generate_private_key(ec.SECP256R1())}
    shop.kid = "key-new"
    return shop


async def test_a_receipt_that_has_minted_is_answered_after_its_key_was_withdrawn(
    make_mint: MintMaker, tmp_path: Path, old: MerchantSigner, new: MerchantSigner
) -> None:
    send = sender(await make_mint(), tmp_path)
    receipt, unsold = old.receipt("ivy", jti="order-1"), old.receipt("ivy", jti="order-2")
    membership, _ = await send(old, receipt)
    assert await send(new, receipt) == (membership, True)
    assert await send(new, old.receipt("ivy", jti="order-1", iat=1)) == (membership, True)
    with pytest.raises(InvalidReceipt, match="names no key"):
        await send(new, unsold)


async def test_a_withdrawn_key_gives_nobody_else_a_membership(
    make_mint: MintMaker, tmp_path: Path, old: MerchantSigner, new: MerchantSigner
) -> None:
    mint = await make_mint()
    send = sender(mint, tmp_path)
    receipt = old.receipt("ivy", jti="order-1")
    await send(old, receipt)
    stranger = MerchantSigner()  # the same kid, another key
    for forged, user in (
        (stranger.receipt("ivy", jti="order-1"), "ivy"),  # not genuine, for any sender
        (stranger.receipt("eve", jti="order-1"), "eve"),
        (receipt, "eve"),  # genuine, but of another user
        (old.receipt("eve", jti="order-1"), "eve"),  # by the thief of the withdrawn key: what has minted stays
        (old.receipt("eve", jti="order-3"), "eve"),
    ):
        try:
            answer = await send(new, forged, user)
        except (InvalidReceipt, ReceiptUsed):
            continue
        raise AssertionError(answer)
    assert await mint.ledger() == {"FULFILLED": 1}


async def test_another_key_under_the_same_kid_does_not_hide_the_first(
    make_mint: MintMaker, tmp_path: Path, old: MerchantSigner
) -> None:
    send = sender(await make_mint(), tmp_path)
    receipt = old.receipt("ivy", jti="order-1")
    membership, _ = await send(old, receipt)
    again = MerchantSigner()
    assert again.kid == old.kid
    await send(again, again.receipt("ivy", jti="order-2"))
    assert await send(again, receipt) == (membership, True)


async def test_while_the_shops_keys_cannot_be_read_what_has_minted_is_answered(
    make_mint: MintMaker, tmp_path: Path, old: MerchantSigner
) -> None:
    send = sender(await make_mint(), tmp_path)
    receipt = old.receipt("ivy", jti="order-1")
    membership, _ = await send(old, receipt)
    away = "http://127.0.0.1:1/jwks.json"
    assert await send(away, receipt) == (membership, True)
    with pytest.raises(Retryable):
        await send(away, old.receipt("ivy", jti="order-2"))


async def test_settings_and_drops_that_changed_since_do_not_undo_a_mint(
    make_mint: MintMaker, tmp_path: Path, old: MerchantSigner
) -> None:
    mint = await make_mint()
    send = sender(mint, tmp_path)
    receipt = old.receipt("ivy", jti="order-1", sandbox=True)
    membership, _ = await send(old, receipt)
    await mint.database.execute("UPDATE drops SET closes_at = now() - interval '1 second' WHERE id = $1", mint.drop.id)
    assert await send(old, receipt, merchant_sandbox=False) == (membership, True)
    with pytest.raises(InvalidReceipt, match="test mode"):
        await send(old, old.receipt("ivy", sandbox=True), merchant_sandbox=False)


async def test_a_refunded_receipt_is_refused_whatever_its_key(
    make_mint: MintMaker, tmp_path: Path, old: MerchantSigner, new: MerchantSigner
) -> None:
    mint = await make_mint()
    send = sender(mint, tmp_path)
    receipt = old.receipt("ivy", jti="order-1")
    await send(old, receipt)
    await mint.database.execute("UPDATE receipt_ledger SET state = 'REFUNDED', reason = 'REFUND'")
    for published in (old, new):
        with pytest.raises(InvalidReceipt, match="refunded"):
            await send(published, receipt)


async def test_a_key_is_remembered_once(make_mint: MintMaker, tmp_path: Path, old: MerchantSigner) -> None:
    mint = await make_mint()
    send = sender(mint, tmp_path)
    for _ in range(3):
        await send(old, old.receipt("ivy"))
    rows = await mint.database.fetch("SELECT issuer, kid, public_key FROM merchant_keys")
    assert [(row["issuer"], row["kid"]) for row in rows] == [(ISSUER, old.kid)]
    assert "d" not in json.loads(rows[0]["public_key"])
