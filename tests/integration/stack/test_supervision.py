"""Processes under the supervisor: they come back, and they never outlive it."""

from __future__ import annotations

import os
import signal
import smtplib
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import psutil
import pytest

from stack.local import DATABASES, Stack
from stack.refusal import StackRefused
from tests.leftovers import wait_until_none_is_left


@pytest.fixture
def awkward_folder(tmp_path: Path) -> Path:
    return tmp_path / "100% 'odd' ; folder # name" / "state"


@pytest.fixture
def own_databases(awkward_folder: Path) -> Iterator[Stack]:
    with Stack.isolated(awkward_folder, only=DATABASES | {"mail"}) as running:
        yield running


def pid_after_death(stack: Stack, process: str, old_pid: int) -> int:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if stack.pid(process) not in {0, old_pid} and stack.is_ready(process):
            return stack.pid(process)
        time.sleep(0.05)
    raise AssertionError(f"{process} did not come back")


def test_each_killed_process_comes_back_and_none_outlives_the_stack(own_databases: Stack) -> None:
    for process in own_databases.processes:
        old_pid = own_databases.pid(process)
        own_databases.kill(process)
        assert pid_after_death(own_databases, process, old_pid) != old_pid
    own_databases.stop()
    assert wait_until_none_is_left(own_databases.state.root) == []


def test_nothing_outlives_a_supervisor_that_was_killed(own_databases: Stack) -> None:
    supervisor = psutil.Process(own_databases.pid("valkey")).ppid()
    os.kill(supervisor, signal.SIGKILL)
    assert wait_until_none_is_left(own_databases.state.root) == []


def test_a_second_stack_on_the_same_folder_is_refused_and_the_first_lives_on(own_databases: Stack) -> None:
    with pytest.raises(StackRefused, match="already runs"):
        Stack.isolated(own_databases.state.root, only=DATABASES).start()
    own_databases.wait_ready()


def test_a_paused_process_answers_again_once_resumed(own_databases: Stack) -> None:
    own_databases.pause("valkey")
    assert not own_databases.is_ready("valkey")
    own_databases.resume("valkey")
    own_databases.wait_ready(["valkey"])


def test_a_stopped_process_stays_down_until_it_is_started(own_databases: Stack) -> None:
    own_databases.stop_process("postgres")
    time.sleep(1.5)
    assert own_databases.pid("postgres") == 0
    own_databases.start_process("postgres")
    assert own_databases.is_ready("postgres")


def test_mail_is_kept_as_one_file_each_in_order_of_arrival(own_databases: Stack) -> None:
    with smtplib.SMTP("127.0.0.1", int(own_databases.listens["smtp"])) as client:
        for number in range(3):
            message = EmailMessage()
            message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", f"mail {number}"
            message.set_content("hello")
            client.send_message(message)
    kept = [path.read_text(encoding="utf-8") for path in sorted(own_databases.state.mail.glob("*.eml"))]
    assert [f"Subject: mail {number}" in text for number, text in enumerate(kept)] == [True, True, True]


def test_a_process_that_cannot_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with Stack.isolated(state, only={"postgres"}):
        pass
    version = state / "postgres" / "PG_VERSION"
    version.write_text("9.6\n", encoding="ascii")
    with pytest.raises(StackRefused, match=r"postgres did not become ready.*incompatible"):
        Stack.isolated(state, only={"postgres"}).start()
    assert wait_until_none_is_left(state) == []
