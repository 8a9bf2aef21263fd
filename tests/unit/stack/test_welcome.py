"""A command that is shown for pasting works."""

from __future__ import annotations

from pathlib import Path

import pytest

from stack.settings import StackSettings
from stack.state import StateFolder
from stack.welcome import welcome


@pytest.mark.parametrize(("vyris_env", "shows"), [("development", True), ("production", False)])
def test_a_receipt_that_proves_nothing_is_shown_in_development_alone(
    vyris_env: str, shows: bool, tmp_path: Path
) -> None:
    settings = StackSettings(_env_file=None, vyris_env=vyris_env)
    text = welcome(settings, StateFolder(tmp_path), {"mint": 50_051}, {})
    assert ("receipt-1" in text) is shows
    assert "http://localhost:3000/docs" in text
