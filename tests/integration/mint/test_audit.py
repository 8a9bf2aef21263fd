"""The audit finds violations of the rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.mint import audit as audit_module
from services.mint import metrics
from services.mint.audit import Audit
from tests.stand_ins.mint_engine import MintMaker


async def test_an_audit_without_findings_reports_nothing(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=3)
    await mint.mint("one")
    await Audit(mint.database, lambda: None).once()
    labels = (mint.drop.tier, "2025", "production")
    assert metrics.MEMBERSHIPS_OVER_CAPACITY.labels(*labels)._value.get() == 0
    assert metrics.SLOTS_UNACCOUNTED.labels(*labels)._value.get() == 0
    assert metrics.OLDEST_PENDING_S._value.get() == 0


async def test_too_many_memberships_lost_slots_and_old_receipts_are_reported(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=3)
    for number in range(3):
        await mint.mint(f"receipt {number}")
    await mint.database.execute("UPDATE drops SET capacity = 1 WHERE id = $1", mint.drop.id)
    await mint.database.execute(
        "INSERT INTO receipt_ledger (receipt_key, state, drop_id, user_id, kind, created_at)"
        " VALUES (decode(repeat('ab', 32), 'hex'), 'PENDING', $1, 'u', 'opaque', now() - $2::interval)",
        mint.drop.id,
        timedelta(seconds=500),
    )
    await Audit(mint.database, lambda: None).once()
    labels = (mint.drop.tier, "2025", "production")
    assert metrics.MEMBERSHIPS_OVER_CAPACITY.labels(*labels)._value.get() == 2
    assert metrics.SLOTS_UNACCOUNTED.labels(*labels)._value.get() == -2
    assert 499 < metrics.OLDEST_PENDING_S._value.get() < 600
    await Audit(mint.database, lambda: datetime.now(UTC)).once()
    assert metrics.OLDEST_PENDING_S._value.get() == 0


async def test_no_drop_is_left_out_however_many_there_are(
    make_mint: MintMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "DROPS_A_STATEMENT", 2)
    mints = [await make_mint(capacity=1) for _ in range(5)]
    for mint in mints:
        await mint.database.execute("UPDATE drops SET capacity = 3 WHERE id = $1", mint.drop.id)
    await Audit(mints[0].database, lambda: None).once()
    for mint in mints:
        assert metrics.SLOTS_UNACCOUNTED.labels(mint.drop.tier, "2025", "production")._value.get() == 2
