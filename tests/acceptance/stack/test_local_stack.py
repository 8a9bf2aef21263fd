"""The local stack as a person at a terminal uses it."""

from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from stack.local import Stack
from stack.ports import PortTaker
from tests.integration.cli.operator_login import vyris as vyris_commands
from tests.leftovers import processes_of, wait_until_none_is_left
from tests.plain_http import NO_TLS

START_LIMIT_S = 120
pytestmark = pytest.mark.timeout(400)
PORT_SETTINGS = ("GATEWAY_PORT", "GATEWAY_GRPC_PORT", "MINT_PORT", "ENCOUNTER_PORT", "WALLET_PORT", "REFORGE_PORT")


class Terminal:
    """`vyris …` in a terminal of its own, with what it printed so far."""

    def __init__(self, environment: Mapping[str, str], *arguments: str) -> None:
        ours, its = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", *arguments],
            env=dict(environment), stdin=its, stdout=its, stderr=its, start_new_session=True,
        )  # fmt: skip
        os.close(its)
        self._terminal = ours
        self._printed = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, text: str) -> str:
        """Wait until `text` is printed; return all output."""
        deadline = time.monotonic() + START_LIMIT_S
        while text not in self.printed:
            assert self._process.poll() is None, f"it ended: {self.printed}"
            assert time.monotonic() < deadline, f"not in time: {self.printed}"
            time.sleep(0.05)
        return self.printed

    def press_ctrl_c(self, *, wait: bool = True) -> int | None:
        """Interrupt the whole foreground group, as a terminal does; return the exit status."""
        os.killpg(self._process.pid, signal.SIGINT)
        return self._process.wait(START_LIMIT_S) if wait else None

    def kill(self) -> None:
        """Kill the command alone, so that it cannot clean up."""
        self._process.kill()
        self._process.wait()

    @property
    def printed(self) -> str:
        """The output so far."""
        return self._printed.decode(errors="replace").replace("\r\n", "\n")

    def _read(self) -> None:
        try:
            while data := os.read(self._terminal, 65536):
                self._printed += data
        except OSError:
            return


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings of a stack of its own; what is left of it ends with the test."""
    ports = PortTaker(set())
    settings = {name: str(ports.free_port()) for name in PORT_SETTINGS}
    foreign = {*PORT_SETTINGS, "DATABASE_URL", "REDIS_URL", "SMTP_URL"}
    inherited = {name: value for name, value in os.environ.items() if name not in foreign}
    yield {**inherited, **settings, "VYRIS_STATE_DIR": str(tmp_path / "state"), "NO_COLOR": "1"}
    vyris({**inherited, "VYRIS_STATE_DIR": str(tmp_path / "state")}, "down")


def vyris(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env=dict(environment), capture_output=True, text=True, timeout=START_LIMIT_S, check=False,
    )  # fmt: skip


def paste(printed: str) -> httpx.Response:
    """Send the request of the printed `curl`, as curl would."""
    command = printed[printed.index("curl ") :].split("'\n", maxsplit=1)[0] + "'"
    words = shlex.split(command)
    header, body = words[words.index("-H") + 1], words[words.index("-d") + 1]
    name, _, value = header.partition(": ")
    return httpx.post(next(w for w in words if w.startswith("http")), headers={name: value}, content=body)


def test_run_serves_the_printed_request_shows_logs_and_leaves_nothing_on_ctrl_c(
    stack: Stack, environment: dict[str, str], tmp_path: Path
) -> None:
    """Beside another stack, and with two mints."""
    mode_before = tmp_path.stat().st_mode
    terminal = Terminal({**environment, "MINT_REPLICAS": "2"}, "run")
    answer = paste(terminal.wait_for("Logs follow"))
    assert answer.status_code == 201, answer.text
    assert answer.json()["status"] == "FULFILLED"
    terminal.wait_for("POST /mint 201")
    assert "mint-2 is ready" in terminal.printed
    request = {"receipt_data": "the-same-receipt", "user_id": "user-1"}
    urls = (stack.gateway_url, f"http://127.0.0.1:{environment['GATEWAY_PORT']}")
    minted = [httpx.post(f"{url}/mint", json=request) for url in urls]
    assert [each.status_code for each in minted] == [201, 201]
    assert minted[0].json()["membership"]["id"] != minted[1].json()["membership"]["id"]
    assert processes_of(tmp_path / "state")
    assert terminal.press_ctrl_c() == 0
    assert "Everything is stopped." in terminal.printed
    assert "Traceback" not in terminal.printed
    assert wait_until_none_is_left(tmp_path / "state") == []
    assert tmp_path.stat().st_mode == mode_before
    assert httpx.get(f"{stack.gateway_url}/health").status_code == 200


def test_up_and_down_keep_what_was_minted(environment: dict[str, str], tmp_path: Path) -> None:
    first = vyris(environment, "up")
    assert first.returncode == 0, first.stderr
    minted = paste(first.stdout).json()
    assert minted["replayed"] is False
    assert vyris(environment, "status").returncode == 0
    listed = json.loads((tmp_path / "state" / "ports.json").read_text(encoding="utf-8"))
    assert listed["gateway"] == int(environment["GATEWAY_PORT"])
    assert vyris(environment, "down").returncode == 0
    assert wait_until_none_is_left(tmp_path / "state") == []
    again = vyris(environment, "up")
    assert again.returncode == 0, again.stderr
    replayed = paste(again.stdout).json()
    assert replayed == {**minted, "replayed": True}
    assert vyris(environment, "down").returncode == 0


def test_an_impatient_second_ctrl_c_leaves_nothing_either(environment: dict[str, str], tmp_path: Path) -> None:
    terminal = Terminal(environment, "run")
    terminal.wait_for("postgres is ready")
    terminal.press_ctrl_c(wait=False)
    terminal.wait_for("Stopping")
    terminal.press_ctrl_c()
    assert "Traceback" not in terminal.printed
    assert wait_until_none_is_left(tmp_path / "state") == []


def test_nothing_is_left_when_the_command_itself_is_killed(environment: dict[str, str], tmp_path: Path) -> None:
    terminal = Terminal(environment, "run")
    terminal.wait_for("postgres is ready")
    terminal.kill()
    assert wait_until_none_is_left(tmp_path / "state", limit_s=30) == []


def test_a_taken_port_is_one_sentence_and_starts_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", int(environment["GATEWAY_PORT"]))):
        refused = vyris(environment, "up")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert f"Port {environment['GATEWAY_PORT']} is taken" in refused.stderr
    assert "set GATEWAY_PORT to another port." in refused.stderr
    assert processes_of(tmp_path / "state") == []


def test_a_port_of_another_stack_names_that_stack(stack: Stack, environment: dict[str, str]) -> None:
    refused = vyris({**environment, "GATEWAY_PORT": str(stack.settings.gateway_port)}, "up")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert f"is taken by the stack in {stack.state.root}: stop that one (`kill " in refused.stderr


def test_commands_without_a_stack_say_that_none_runs(environment: dict[str, str], tmp_path: Path) -> None:
    commands = [("drop", "list"), ("bouncer", "show"), ("receipts", "--failed"), ("migrate",), ("status",), ("logs",)]
    *results, logs = vyris_commands(commands, environment)
    for arguments, result in zip(commands, results, strict=False):
        assert result.status == 1, arguments
        assert f"No stack runs on {tmp_path / 'state'}: " in result.output, arguments
    assert logs.output == f"There are no logs in {tmp_path}/state/logs: `make up` starts a stack.\n"


def test_a_wrong_service_setting_is_one_sentence_that_names_it(environment: dict[str, str], tmp_path: Path) -> None:
    refused = vyris({**environment, "MINT_BATCH_LIMIT": "many"}, "up")
    assert refused.returncode == 1
    assert "MINT_BATCH_LIMIT" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert wait_until_none_is_left(tmp_path / "state") == []


def test_a_stack_that_already_runs_is_one_sentence(stack: Stack, environment: dict[str, str]) -> None:
    refused = vyris({**environment, "VYRIS_STATE_DIR": str(stack.state.root)}, "up")
    assert refused.returncode == 1
    assert refused.stderr.startswith("vyris: A stack already runs on ")
    stack.wait_ready()


@pytest.mark.parametrize("process", ["mint", "encounter", "wallet", "reforge", "gateway", "valkey", "postgres"])
def test_the_suite_is_healthy_again_after_a_process_was_killed(stack: Stack, process: str) -> None:
    old_pid = stack.pid(process)
    stack.kill(process)
    deadline = time.monotonic() + 30
    # `/health` alone may say what it learned before the kill.
    while stack.pid(process) in {0, old_pid} or not stack.is_ready(process) or not healthy(stack):
        assert time.monotonic() < deadline, f"{process} did not come back"
        time.sleep(0.1)


def healthy(stack: Stack) -> bool:
    try:
        answer = httpx.get(f"{stack.gateway_url}/health", timeout=2, verify=NO_TLS)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.json()["status"] == "ok"
