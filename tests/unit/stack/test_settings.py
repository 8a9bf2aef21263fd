"""Settings of the stack."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from services.server.runtime.settings import EXIT_CONFIGURATION
from stack.settings import StackSettings


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run_up() -> tuple[int, str, str]:
    """Exit status of `vyris up`, the setting that its one sentence names, and the place where it is set."""
    result = CliRunner().invoke(app, ["up"])
    [(name, place)] = re.findall(r"^vyris: setting (\w+)( in \.env)?: ", result.output, re.MULTILINE)
    return result.exit_code, name, place


def test_the_environment_wins_over_the_env_file_and_both_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("GATEWAY_PORT=3100\nMINT_PORT=51000\n", encoding="utf-8")
    monkeypatch.setenv("MINT_PORT", "52000")
    settings = StackSettings()
    assert (settings.gateway_port, settings.mint_port, settings.wallet_port) == (3100, 52000, 50053)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_PORT", "70000"),
        ("MINT_PORT", "mint"),
        ("DATABASE_URL", "mysql://x"),
        ("GATEWAY_TLS_CERT_FILE", "gateway.pem"),
        ("SERVER_TLS_CERT_FILE", "server.pem"),
    ],
)
def test_a_wrong_setting_names_itself(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert run_up() == (EXIT_CONFIGURATION, name, "")


def test_an_empty_setting_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "")
    assert StackSettings().gateway_port == 3000


def test_a_wrong_setting_of_the_env_file_says_so() -> None:
    Path(".env").write_text("GATEWAY_PORT=mint\n", encoding="utf-8")
    assert run_up() == (EXIT_CONFIGURATION, "GATEWAY_PORT", " in .env")


def test_a_stack_can_be_stopped_with_wrong_settings(tmp_path: Path) -> None:
    Path(".env").write_text("GATEWAY_PORT=99999\nVYRIS_STATE_DIR=state\n", encoding="utf-8")
    for command in ("down", "status"):
        result = CliRunner().invoke(app, [command])
        assert f"No stack runs on {tmp_path / 'state'}" in result.output
