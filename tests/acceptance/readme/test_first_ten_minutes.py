"""The README's commands, pasted one after the other without a change, against a running suite."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stack.local import Stack

REPOSITORY = Path(__file__).resolve().parents[3]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks_of_first_ten_minutes() -> list[str]:
    """The shell blocks between that heading and the next."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = readme.split("## The first ten minutes")[1].split("\n## ")[0]
    return BLOCK.findall(section)


@pytest.fixture(scope="module")
def output(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Run the commands in one shell, with the stack's ports in place of the default ones; return their output."""
    blocks = blocks_of_first_ten_minutes()
    assert len(blocks) >= 6
    script = "set -eu\n" + "\n".join(blocks)
    script = script.replace("localhost:3000", f"localhost:{stack.settings.gateway_port}")
    script = script.replace('"$PWD/.venv/bin:$PATH"', f'"{Path(sys.executable).parent}:$PATH"')
    finished = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path_factory.mktemp("newcomer"),
        env={**os.environ, **stack.service_environment, "TERM": "dumb", "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def answers(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{") and line.endswith("}")]


def test_the_first_mint_and_its_replay(output: str) -> None:
    first, replay = answers(output)[:2]
    assert first["status"] == "FULFILLED"
    assert replay == {**first, "replayed": True}


def test_the_first_error(output: str) -> None:
    assert any(answer.get("error") == "RECEIPT_USED" for answer in answers(output))


def test_the_first_hold_becomes_a_membership(output: str) -> None:
    shown = answers(output)
    held = next(answer for answer in shown if answer.get("status") == "HELD")
    minted = next(a for a in shown if a.get("status") == "FULFILLED" and a["membership"]["tier"] == "night")
    used = next(answer for answer in shown if set(answer) == {"hold"})["hold"]
    assert (used["id"], used["state"]) == (held["hold"]["id"], "USED")
    assert used["membership_id"] == minted["membership"]["id"]


def test_the_first_encounter_and_its_replay(output: str) -> None:
    assert any(answer.get("status") == "VERIFIED" for answer in answers(output))
    assert any(answer.get("error") == "CONFLICT" for answer in answers(output))


def test_the_mail_is_shown_as_a_person_reads_it(output: str) -> None:
    assert "Someone, hopefully you, asked to move your membership to a new device:\n\n" in output


def test_what_the_commands_leave_is_not_committed(output: str) -> None:
    ignored = (REPOSITORY / ".gitignore").read_text(encoding="utf-8").splitlines()
    written = re.findall(r"(?:tee|-o) ([a-z.-]+)", "\n".join(blocks_of_first_ten_minutes()))
    assert len(written) >= 4
    assert [name for name in written if f"/{name}" not in ignored] == []


def test_the_membership_moves_to_the_new_phone(output: str) -> None:
    shown = answers(output)
    assert any(answer.get("status") == "PENDING" for answer in shown)
    assert any(answer.get("status") == "CONFIRMED" and answer["new_device_id"] == "phone-b" for answer in shown)
