"""The sources of every process' settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.settings_reference import READERS
from services.server.runtime.settings import EXIT_CONFIGURATION, load
from suite import NAMES


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with only the test's files."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


READ_BY_MANY = {"database_url", "gateway_port"}


@pytest.mark.parametrize("reader", [name for name, read in READERS.items() if READ_BY_MANY & read.model_fields.keys()])
def test_settings_come_from_dotenv_and_the_environment_goes_first(
    reader: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".env").write_text(
        "DATABASE_URL=postgresql://in-file/x\nREDIS_URL=redis://in-file\nGATEWAY_PORT=4001\nSOMETHING_ELSE=1\n"
    )
    settings_class = READERS[reader]
    from_file = settings_class()
    read = READ_BY_MANY & settings_class.model_fields.keys()
    expected = {"database_url": "postgresql://in-file/x", "gateway_port": 4001}
    assert {name: getattr(from_file, name) for name in read} == {name: expected[name] for name in read}
    monkeypatch.setenv("DATABASE_URL", "postgresql://in-environment/x")
    monkeypatch.setenv("GATEWAY_PORT", "4002")
    expected = {"database_url": "postgresql://in-environment/x", "gateway_port": 4002}
    from_environment = settings_class()
    assert {name: getattr(from_environment, name) for name in read} == {name: expected[name] for name in read}


@pytest.mark.parametrize("reader", NAMES)
def test_a_wrong_setting_names_itself_and_not_its_value(
    reader: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:secret@host/x")
    monkeypatch.setenv("REDIS_URL", "redis://host")
    monkeypatch.setenv("POSTGRES_POOL_SIZE", "hunter2")
    with pytest.raises(SystemExit) as ended:
        load(READERS[reader])
    assert ended.value.code == EXIT_CONFIGURATION
    output = capsys.readouterr().err
    assert "POSTGRES_POOL_SIZE" in output
    assert "hunter2" not in output
    assert "secret" not in output


@pytest.mark.parametrize("reader", ["encounter", "wallet", "reforge"])
def test_a_missing_setting_is_the_only_one_named(reader: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load(READERS[reader])
    assert capsys.readouterr().err.startswith("setting DATABASE_URL: Field required (")
