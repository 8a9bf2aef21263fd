"""Postgres refuses to run as root: how the stack runs it for root, and for an ordinary user."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from stack.local import Stack
from tests.leftovers import wait_until_none_is_left

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="says what happens to root")

START = """
import sys
from pathlib import Path
from stack.local import Stack
from stack.refusal import StackRefused
try:
    with Stack.isolated(Path(sys.argv[1]), only={"postgres", "valkey"}) as stack:
        print("ready", stack.pid("postgres"))
except StackRefused as refusal:
    print("refused:", refusal)
"""


def nobody_can_run_python() -> bool:
    try:
        finished = subprocess.run([sys.executable, "-c", "import stack.local"], user="nobody", group=65534, check=False)
    except OSError:
        return False
    return finished.returncode == 0


def test_the_data_folder_of_root_stays_roots_and_private(tmp_path: Path) -> None:
    above = tmp_path / "private"
    above.mkdir(mode=0o700)
    with Stack.isolated(above / "state", only={"postgres"}) as stack:
        assert psutil.Process(stack.pid("postgres")).is_running()
    assert above.stat().st_mode & 0o777 == 0o700
    assert (above / "state").stat().st_mode & 0o777 == 0o700
    assert (above / "state" / "postgres").stat().st_mode & 0o777 == 0o700


def test_postgres_runs_below_a_folder_that_only_another_user_may_enter(tmp_path: Path) -> None:
    anothers = tmp_path / "anothers"
    anothers.mkdir(mode=0o700)
    os.chown(anothers, pwd.getpwnam("nobody").pw_uid, -1)
    with Stack.isolated(anothers / "state", only={"postgres"}) as stack:
        assert psutil.Process(stack.pid("postgres")).uids().effective == pwd.getpwnam("nobody").pw_uid
    assert wait_until_none_is_left(anothers / "state") == []


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_where_root_cannot_shed_its_id_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    without = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    finished = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", without, "sh",
         sys.executable, "-c", START, str(tmp_path / "state")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "unshare:" in finished.stderr or "Permission denied" in finished.stderr:
        pytest.skip("this machine has no user namespaces, or the project lies where only another user may enter")
    assert finished.stdout.startswith("refused: Postgres does not run as root, and this machine lets root neither")
    assert wait_until_none_is_left(tmp_path / "state") == []


def test_an_ordinary_user_starts_a_stack(tmp_path: Path) -> None:
    if not nobody_can_run_python():
        pytest.skip("the virtual environment lies where only root can enter")
    below = Path("/tmp") / f"vyris-ordinary-{os.getpid()}"  # noqa: S108 - tmp_path itself is root's alone
    below.mkdir(mode=0o700)
    os.chown(below, pwd.getpwnam("nobody").pw_uid, 65534)
    try:
        finished = subprocess.run(
            [sys.executable, "-c", START, str(below / "state")],
            user="nobody", group=65534, extra_groups=[],
            env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert finished.stdout.startswith("ready "), finished.stdout + finished.stderr
        assert wait_until_none_is_left(below / "state") == []
    finally:
        shutil.rmtree(below)
