"""The tests pass with any settings in the shell and in the checkout."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from cli.settings_reference import READERS
from tests.shell import REPOSITORY, clear_settings, keep_bytecode, setting_names


def test_no_setting_of_the_shell_reaches_a_test() -> None:
    assert not setting_names() & set(os.environ)


def test_every_setting_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {name.upper() for reader in READERS.values() for name in reader.model_fields}
    for name in {*names, "OTEL_SERVICE_NAME"}:
        monkeypatch.setenv(name, "from the shell")
    clear_settings()
    assert "from the shell" not in os.environ.values()


def test_no_env_file_of_the_checkout_reaches_a_test() -> None:
    assert not Path(".env").exists()
    assert Path.cwd() != REPOSITORY


def test_modules_are_compiled_once_for_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not sys.dont_write_bytecode
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    keep_bytecode()
    assert "PYTHONDONTWRITEBYTECODE" not in os.environ
    assert not sys.dont_write_bytecode
