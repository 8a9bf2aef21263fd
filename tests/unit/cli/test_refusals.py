"""A mistake that a person can mend is reported in a sentence; a defect keeps its traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def report_of(*arguments: str) -> str:
    """The one line that a failed command prints."""
    result = CliRunner().invoke(app, list(arguments))
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code != 0
    assert result.output.count("\n") == 1, result.output
    return result.output


def test_without_a_stack_it_says_how_to_start_one(folder: Path) -> None:
    assert report_of("drop", "list") == (
        f"No stack runs on {folder}/.vyris: start it with `make up`, or set DATABASE_URL.\n"
    )


def test_damaged_ports_are_named(folder: Path) -> None:
    (folder / ".vyris").mkdir()
    (folder / ".vyris" / "ports.json").write_text("{", encoding="utf-8")
    assert report_of("drop", "list").startswith(f"vyris: {folder}/.vyris/ports.json is damaged: ")


def test_a_settings_file_that_is_no_text_is_named(folder: Path) -> None:
    (folder / ".env").write_bytes(b"DROP_TIER=\xff\n")
    assert report_of("drop", "list") == "vyris: the file .env is not text in UTF-8\n"


@pytest.mark.parametrize(
    ("name", "arguments"), [("POSTGRES_POOL_SIZE", ("drop", "list")), ("DROP_CAPACITY", ("drop", "create"))]
)
def test_a_wrong_setting_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql:///x")
    monkeypatch.setenv(name, "many")
    assert f"setting {name}: " in report_of(*arguments)


def test_a_folder_that_is_not_there_is_named(folder: Path) -> None:
    (folder / "a.pkpass").write_bytes(b"")
    assert report_of("pass", "inspect", "a.pkpass").startswith("a.pkpass is not a pass: ")


def test_a_damaged_device_key_says_what_to_remove(folder: Path) -> None:
    keys = folder / ".vyris" / "keys" / "devices"
    keys.mkdir(parents=True)
    (keys / "phone.pem").write_text("bad", encoding="utf-8")
    assert report_of("dev", "device-key", "phone").startswith(
        f"{keys / 'phone.pem'} holds no P-256 private key: remove it"
    )


def test_an_unknown_call_lists_those_that_there_are(folder: Path) -> None:
    assert "There are: POST /mint, " in report_of("dev", "proof", "phone", "POST", "/nope")
