"""The examples, run as a reader would, and the client over the whole suite."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stack.local import Stack
from tests.commands import run_vyris
from vyris.client import AsyncClient, Client, Device
from vyris.errors import Conflict, NotFound, Unauthorized

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
SAID = {
    "first_mint.py": ["ada holds number ", "replayed: True", "eve gets RECEIPT_USED", "remain"],
    "pass_by_device.py": ["without the phone: ", " bytes, saved as /", "met so far: 0"],
    "enter_a_draw.py": ["entered: leaf ", "the draw is ENTERING; round ", "my result: NOT_DRAWN", "and I am WITHDRAWN"],
    "hold_then_mint.py": ["a number is held until ", "the hold is USED", "once more: LIMIT_REACHED"],
    "many_at_once.py": ["100 of 100 bought, 100 different numbers", "remain, OPEN"],
    "move_to_a_new_phone.py": ["PENDING until ", "now it is REFUSED"],
}


@pytest.fixture(scope="module")
def drop_by_hold(stack: Stack) -> None:
    """The drop that an example names."""
    create(stack, "night", "2026", "--sale", "hold")


@pytest.fixture(scope="module")
def drop_by_draw(stack: Stack) -> None:
    """The drop that another example names."""
    closes, ends = (f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%dT%H:%M:%S}" for days in (1, 8))
    times = ("--entries-close", closes, "--closes-at", ends)
    create(stack, "lot", "2027", "--sale", "draw", "--development-beacon", *times)


def create(stack: Stack, tier: str, year: str, *wanted: str) -> None:
    command = ("drop", "create", tier, year, "--capacity", "10", "--if-missing", *wanted)
    run_vyris(stack.service_environment, *command).check_returncode()


def test_the_list_of_examples_names_each_of_them() -> None:
    listed = re.findall(r"^\| `(\w+\.py)` \|", (EXAMPLES / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in EXAMPLES.glob("*.py"))


def test_the_drops_of_the_examples_are_those_of_the_first_ten_minutes() -> None:
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        for tier, year in re.findall(r'^DROP = \("(\w+)", "(\d+)"\)', path.read_text(encoding="utf-8"), re.MULTILINE):
            assert f"vyris drop create {tier} {year} " in readme, path.name


@pytest.mark.usefixtures("drop_by_hold", "drop_by_draw")
@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_works_as_described(stack: Stack, name: str, tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        env={**os.environ, "VYRIS_TARGET": stack.gateway_grpc_target, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    for words in SAID[name]:
        assert words in finished.stdout


def encounter_token(stack: Stack, initiator: str, receiver: str) -> str:
    made = subprocess.run(
        [sys.executable, "-m", "cli.main", "dev", "encounter-token", "--from", initiator, "--to", receiver],
        env={**os.environ, **stack.service_environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return made.stdout.strip()


def test_two_members_meet_once_and_both_can_read_it(stack: Stack, tmp_path: Path) -> None:
    phone = Device.generate("phone-a")
    with Client(stack.gateway_grpc_target) as vyris:
        ada = vyris.mint(f"ada {tmp_path.name} {os.getpid()}", "ada", device=phone).membership
        grace = vyris.mint(f"grace {tmp_path.name} {os.getpid()}", "grace").membership
        token = encounter_token(stack, ada.id, grace.id)
        met = vyris.verify_encounter(token)
        with pytest.raises(Conflict):
            vyris.verify_encounter(token)
        assert [encounter.id for encounter in vyris.encounters(ada.id, phone)] == [met.id]
        with pytest.raises(Unauthorized):
            vyris.list_encounters(ada.id, Device.generate("phone-a"))


async def test_the_async_client_reaches_every_service(stack: Stack) -> None:
    async with AsyncClient(stack.gateway_grpc_target) as vyris:
        assert (await vyris.get_drop("genesis", "2025")).capacity == 999
        with pytest.raises(NotFound):
            await vyris.issue_pass("unknown", "ada")
        with pytest.raises(Unauthorized):
            await vyris.verify_encounter("nonsense")
        with pytest.raises(NotFound):
            await vyris.get_reforge(reforge_id="unknown")
