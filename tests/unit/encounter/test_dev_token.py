"""`vyris dev encounter-token`: prints a token that the local stack accepts, or says why it cannot."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.dev import app
from services.encounter.authority_keys import authority_keys
from services.encounter.development_key import PUBLIC_NAME, development_key
from services.encounter.encounter_token import Location, TimeLimits, prove, read_encounter
from tests.signers.encounter import Signer

ADA, BEN = str(uuid.uuid4()), str(uuid.uuid4())


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VYRIS_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def run_command(*more: str) -> Result:
    return CliRunner().invoke(app, ["encounter-token", "--from", ADA, "--to", BEN, *more])


def test_the_command_prints_a_token_of_the_local_stacks_key(state: Path) -> None:
    development_key(state)
    result = run_command("--lat", "52.52", "--lng", "13.405")
    assert result.exit_code == 0
    keys = authority_keys((state / "keys" / PUBLIC_NAME).read_text()).candidates(None)
    meeting = prove(*read_encounter(result.stdout.strip(), TimeLimits(300, 3_600)), keys).meeting
    assert (str(meeting.initiator_id), str(meeting.receiver_id)) == (ADA, BEN)
    assert meeting.location == Location(5252, 1340)


def test_the_command_says_why_it_cannot_sign(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "both, or neither" in run_command("--lat", "1").stderr
    assert "There is no signing key in" in run_command().stderr
    assert not state.exists()
    development_key(state)
    monkeypatch.setenv("ENCOUNTER_JWT_PUBLIC_KEY", Signer("", "").pem.decode())
    assert "not the local stack's key" in run_command().stderr
    monkeypatch.setenv("VYRIS_ENV", "production")
    result = run_command()
    assert result.exit_code == 1
    assert "VYRIS_ENV is production" in result.stderr
    assert result.stdout == ""
