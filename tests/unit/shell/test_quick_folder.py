"""Databases of tests are in memory where there is room, and nothing of a run that was killed stays there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import quick_folder

NO_PROCESS = 2**22 + 1  # above the highest id of Linux


def test_a_run_removes_what_a_killed_one_left_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_folder, "MEMORY", tmp_path)
    monkeypatch.setattr(quick_folder, "NEEDED_BYTES", 0)
    left, running = tmp_path / f"test-{NO_PROCESS}-x", tmp_path / f"test-{os.getppid()}-x"
    for folder in (left, running):
        folder.mkdir()
    with quick_folder.quick_folder("test-") as folder:
        assert folder.parent == tmp_path
        assert not left.exists()
        assert running.exists()
    assert not folder.exists()


def test_without_room_in_memory_the_folder_is_a_temporary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_folder, "MEMORY", tmp_path / "none")
    with quick_folder.quick_folder("test-") as folder:
        assert tmp_path not in folder.parents
