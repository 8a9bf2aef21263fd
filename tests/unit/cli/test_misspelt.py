"""A name in `.env` that is almost a setting is reported; names of other programs are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.misspelt import misspelt_settings


def test_near_misses_are_reported_with_the_likely_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("GATWAY_PORT=3000\nCOMPOSE_PROJECT_NAME=x\nDROP_TIER=genesis\nlog_level=info\n")
    assert misspelt_settings() == [("GATWAY_PORT", "GATEWAY_PORT")]


def test_no_file_is_no_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert misspelt_settings() == []
