"""Run processes under supervisord.

supervisord starts every process through `stack/launch.py`, restarts processes that die, writes and rotates the logs,
and stops everything in reverse order when it ends. We call it over XML-RPC on a unix socket that only the owner can
open.
"""

from __future__ import annotations

import http.client
import os
import pwd
import shlex
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from services.server.runtime.settings import EXIT_CONFIGURATION
from stack import launch
from stack.processes import ProcessSpec, Tier
from stack.refusal import StackRefused
from stack.state import StateFolder

LOG_LIMIT = "10MB"
LOG_BACKUPS = 3
# If a process is killed again and again, the pause before its next start grows by a second each time.
START_RETRIES = 30
START_LIMIT_S = 30.0
STOP_LIMIT_S = 60.0
KILL_LIMIT_S = 5.0
# Time limit for one answer of supervisord; stopping a process takes longer.
ANSWER_LIMIT_S = 10.0
POLL_S = 0.02


class Supervisor:
    """supervisord over the processes of one state folder."""

    def __init__(self, state: StateFolder, directory: Path) -> None:
        self._state = state
        self._directory = directory
        self._socket = state.sockets / "supervisor.sock"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, specs: Iterable[ProcessSpec], *, ends_with_us: bool) -> None:
        """Start supervisord with `specs`, none of them running. `ends_with_us`: it ends with this process.

        Raises StackRefused if it does not answer in time.
        """
        specs = list(specs)
        for spec in specs:
            self.write_launch(spec)
        self._state.write_private(self._state.supervisor_configuration, self._configuration(specs))
        own_launch = self._write_own_launch(ends_with_us=ends_with_us)
        with (self._state.logs / "supervisor.log").open("ab") as log:
            self._child = subprocess.Popen(
                launch.command(own_launch), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_LIMIT_S
        while self.pid() != self._child.pid:
            if self._child.poll() is not None or time.monotonic() > deadline:
                self._child.kill()
                raise StackRefused(f"The supervisor did not start: see {self._state.logs / 'supervisor.log'}.")
            time.sleep(POLL_S)

    def pid(self) -> int | None:
        """The running supervisord's process id, or None."""
        try:
            return int(self._call("getPID"))
        except (OSError, xmlrpc.client.Error):
            return None

    def write_launch(self, spec: ProcessSpec, extra_environment: Mapping[str, str] | None = None) -> None:
        """Write the launch file for the next start of `spec`."""
        self._state.write_private(
            self._launch_file(spec.name),
            launch.description(
                spec.argv,
                {**spec.environment, **(extra_environment or {})},
                self._directory,
                death_signal=spec.death_signal,
                sheds_root=spec.sheds_root,
            ),
        )

    def start_process(self, spec: ProcessSpec) -> None:
        """Start one process. Returns before it is ready."""
        self._call("startProcess", _full_name(spec), False)

    def stop_process(self, spec: ProcessSpec) -> None:
        """Stop one process and wait until it is gone."""
        try:
            self._call("stopProcess", _full_name(spec), True, limit_s=STOP_LIMIT_S)
        except xmlrpc.client.Fault as fault:
            if "NOT_RUNNING" not in fault.faultString:
                raise

    def states(self) -> dict[str, dict[str, Any]]:
        """Supervisord's view of each process by name: `statename`, `pid`, `start`, `now`, `spawnerr`."""
        return {info["name"]: info for info in self._call("getAllProcessInfo")}

    def stop(self) -> bool:
        """Stop all processes and supervisord; kill those that exceed their time. Return whether any ran.

        On a KeyboardInterrupt it kills everything at once and raises it again.
        """
        family = self._family()
        try:
            # A paused process would not react to SIGTERM.
            _signal(family, signal.SIGCONT)
            if family:
                self._shut_down(family[0])
            _, alive = psutil.wait_procs(family, timeout=STOP_LIMIT_S)
        except KeyboardInterrupt:
            self._kill(family)
            raise
        self._kill(alive)
        return bool(family)

    def _shut_down(self, supervisor: psutil.Process) -> None:
        try:
            self._call("shutdown")
        except (OSError, xmlrpc.client.Error):
            _signal([supervisor], signal.SIGTERM)

    def _kill(self, family: list[psutil.Process]) -> None:
        # supervisord comes first, so that it restarts nothing.
        _signal(family, signal.SIGKILL)
        psutil.wait_procs(family, timeout=KILL_LIMIT_S)
        if self._child is not None:
            self._child.poll()
        for launch_file in self._state.run.glob("*.launch.json"):
            launch_file.unlink(missing_ok=True)

    def _family(self) -> list[psutil.Process]:
        """Supervisord and every descendant; empty when it does not run. Found even while it no longer answers."""
        pid = self.pid() or self._recorded_pid()
        try:
            root = psutil.Process(pid) if pid else None
            return [root, *root.children(recursive=True)] if root else []
        except psutil.NoSuchProcess:
            return []

    def _recorded_pid(self) -> int | None:
        """The process id in supervisord's file, if that process is our supervisord."""
        try:
            pid = int((self._state.run / "supervisord.pid").read_text(encoding="ascii"))
            return pid if str(self._state.supervisor_configuration) in psutil.Process(pid).cmdline() else None
        except (OSError, ValueError, psutil.Error):
            return None

    def _call(self, method: str, *arguments: object, limit_s: float | None = None) -> Any:
        transport = _SocketTransport(self._socket, ANSWER_LIMIT_S if limit_s is None else limit_s)
        with xmlrpc.client.ServerProxy("http://supervisor", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    def _launch_file(self, name: str) -> Path:
        return self._state.run / f"{name}.launch.json"

    def _write_own_launch(self, *, ends_with_us: bool) -> Path:
        path = self._launch_file("supervisor")
        configuration = str(self._state.supervisor_configuration)
        self._state.write_private(
            path,
            launch.description(
                [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", configuration],
                os.environ,
                self._state.root,
                death_signal=signal.SIGTERM if ends_with_us else 0,
                is_supervisor=True,
            ),
        )
        return path

    def _configuration(self, specs: list[ProcessSpec]) -> str:
        # Paths are relative to the state folder, where supervisord runs: in its configuration a `%`, ` ;` or ` #` of
        # the folder's own name would mean something.
        in_run = self._socket.parent == self._state.run
        socket_file = f"run/{self._socket.name}" if in_run else str(self._socket)
        # Set explicitly, or supervisord warns. No other user is allowed here.
        user = f"user = {pwd.getpwuid(0).pw_name}\n" if os.geteuid() == 0 else ""
        sections = [
            f"""\
[supervisord]
nodaemon = true
{user}pidfile = run/supervisord.pid
logfile = /dev/null
logfile_maxbytes = 0
loglevel = info
childlogdir = logs
umask = 077

[unix_http_server]
file = {socket_file}
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
        ]
        sections += [self._program(spec) for spec in specs]
        # supervisord stops the groups one after the other, the highest priority first.
        for tier in Tier:
            names = [spec.name for spec in specs if spec.tier is tier]
            if names:
                sections.append(f"[group:{tier.name.lower()}]\npriority = {int(tier)}\nprograms = {','.join(names)}\n")
        return "\n".join(sections)

    def _program(self, spec: ProcessSpec) -> str:
        command = " ".join(_escape(word) for word in launch.command(Path("run", f"{spec.name}.launch.json")))
        # After any exit but that of a wrong setting, which another start would only repeat.
        return f"""\
[program:{spec.name}]
command = {command}
autostart = false
autorestart = unexpected
exitcodes = {EXIT_CONFIGURATION}
startsecs = 1
startretries = {START_RETRIES}
stopsignal = {spec.stop_signal.name.removeprefix("SIG")}
stopwaitsecs = {spec.stop_limit_s}
killasgroup = true
redirect_stderr = true
stdout_logfile = logs/{spec.name}.log
stdout_logfile_maxbytes = {LOG_LIMIT}
stdout_logfile_backups = {LOG_BACKUPS}
"""


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a unix socket. Unlike supervisor's own, it has a time limit."""

    def __init__(self, path: Path, limit_s: float) -> None:
        super().__init__("supervisor", timeout=limit_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _SocketTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path, limit_s: float) -> None:
        super().__init__()
        self._path = path
        self._limit_s = limit_s

    def make_connection(self, host: object) -> http.client.HTTPConnection:  # noqa: ARG002 - xmlrpc.client's signature
        return _SocketConnection(self._path, self._limit_s)


def _full_name(spec: ProcessSpec) -> str:
    return f"{spec.tier.name.lower()}:{spec.name}"


def _escape(word: str) -> str:
    """Quote one word of a command for supervisord's configuration."""
    return shlex.quote(word).replace("%", "%%")


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
