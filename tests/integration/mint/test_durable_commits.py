"""Every commit of the mint cycle waits for the disk, because callers get answers from its rows."""

from __future__ import annotations

import pytest

from services.mint.statements import QUERIES


@pytest.mark.parametrize("statement", ["mint_receipts", "record_receipts", "fail_receipts"])
def test_no_step_changes_how_its_commit_waits(statement: str) -> None:
    assert "synchronous_commit" not in QUERIES[statement]
