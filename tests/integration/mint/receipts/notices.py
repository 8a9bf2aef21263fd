"""Purchases, and a shop's notifications about their money."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from services.mint.ledger import MintOrder
from services.mint.receipts.verified import VerifiedReceipt, receipt_key
from services.mint.refunds.application import Refunds
from services.mint.refunds.notice import Notice
from tests.stand_ins.mint_engine import Mint

START = datetime(2026, 1, 1, tzinfo=UTC)


def key(purchase: str) -> bytes:
    return receipt_key("merchant", "shop", purchase)


def order(purchase: str, user: str = "buyer") -> MintOrder:
    return MintOrder(VerifiedReceipt(key(purchase), "merchant", purchase), user, None, None)


def notice(event: str, purchase: str, at_s: float = 0, **changes: Any) -> Notice:
    fields: dict[str, Any] = {
        "kind": "merchant",
        "issuer": "shop",
        "notification_id": str(uuid.uuid4()),
        "event": event,
        "receipt_key": key(purchase),
        "transaction_id": purchase,
        "signed_at": START + timedelta(seconds=at_s),
        **changes,
    }
    return Notice(**fields)


async def mint_of(mint: Mint, purchase: str, user: str = "buyer") -> Any:
    return await mint.mint_order(order(purchase, user))


async def apply(mint: Mint, *notices: Notice) -> list[str]:
    refunds = Refunds(mint.database)
    return [await refunds.apply(each) for each in notices]
