"""Processes under the supervisor: they are restarted, and they never outlive it."""

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

from stack import supervision
from stack.local import DATABASES, Stack
from stack.refusal import StackRefused
from tests.leftovers import wait_until_none_is_left

# Allowed folder names that shells, configuration files and URLs may misread.
AWKWARD_NAME = "100% 'odd' ; folder # name"


@pytest.fixture(scope="module")
def shared_databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("shared") / AWKWARD_NAME
    with Stack.isolated(folder, only=DATABASES | {"mail"}) as running:
        yield running


@pytest.fixture
def own_databases(tmp_path: Path) -> Iterator[Stack]:
    with Stack.isolated(tmp_path / "state", only=DATABASES | {"mail"}) as running:
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


def test_a_supervisor_that_hangs_is_stopped_all_the_same(own_databases: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "ANSWER_LIMIT_S", 0.5)
    psutil.Process(psutil.Process(own_databases.pid("valkey")).ppid()).suspend()
    assert own_databases.stop()
    assert wait_until_none_is_left(own_databases.state.root) == []


def test_stopping_what_does_not_run_says_so(tmp_path: Path) -> None:
    assert not Stack.isolated(tmp_path / "state", only=DATABASES).stop()


def test_a_second_stack_on_the_same_folder_is_refused_and_the_first_lives_on(shared_databases: Stack) -> None:
    with pytest.raises(StackRefused, match="already runs"):
        Stack.isolated(shared_databases.state.root, only=DATABASES).start()
    shared_databases.wait_ready()


def test_a_paused_process_answers_again_once_resumed(shared_databases: Stack) -> None:
    shared_databases.pause("valkey")
    assert not shared_databases.is_ready("valkey")
    shared_databases.resume("valkey")
    shared_databases.wait_ready(["valkey"])


def test_a_stopped_process_stays_down_until_it_is_started(shared_databases: Stack) -> None:
    shared_databases.stop_process("postgres")
    time.sleep(1.5)
    assert shared_databases.pid("postgres") == 0
    shared_databases.start_process("postgres")
    assert shared_databases.is_ready("postgres")


def test_mail_is_kept_as_one_file_each_in_order_of_arrival(shared_databases: Stack) -> None:
    with smtplib.SMTP("127.0.0.1", int(shared_databases.listens["smtp"])) as client:
        for number in range(3):
            message = EmailMessage()
            message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", f"mail {number}"
            message.set_content("hello")
            client.send_message(message)
    kept = [path.read_text(encoding="utf-8") for path in sorted(shared_databases.state.mail.glob("*.eml"))]
    assert [f"Subject: mail {number}" in text for number, text in enumerate(kept)] == [True, True, True]


def test_a_process_that_cannot_start_is_reported_with_its_last_log_lines(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with Stack.isolated(state, only={"postgres"}):
        pass
    version = state / "postgres" / "PG_VERSION"
    version.write_text("9.6\n", encoding="ascii")
    with pytest.raises(StackRefused, match=r"did not become ready: .*incompatible.*remove .*postgres and"):
        Stack.isolated(state, only={"postgres"}).start()
    assert wait_until_none_is_left(state) == []
