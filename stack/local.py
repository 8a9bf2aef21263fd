"""The local stack as one object: start it, break it, stop it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from dotenv import dotenv_values

from stack import graph, postgres
from stack.ports import PortTaker, refuse_taken
from stack.preflight import unfit_reason
from stack.processes import ProcessSpec
from stack.readiness import READY_LIMIT_S, Progress, wait_until_ready
from stack.refusal import StackRefused
from stack.settings import StackSettings, StateSettings
from stack.starting import Start, prepare
from stack.state import StateFolder
from stack.supervision import Supervisor
from stack.welcome import welcome
from suite import NAMES

DATABASES = frozenset({"postgres", "valkey"})


class Stack:
    """The processes over one state folder.

    `with Stack.isolated(folder) as stack:` starts everything on free ports, and stops everything at the end. `only`
    limits it to some processes (`DATABASES`). Start it from a thread that lives as long as the stack: the kernel ends
    the stack when that thread ends, unless it was started `detached`.
    """

    def __init__(
        self,
        settings: StackSettings,
        environment: Mapping[str, str],
        *,
        only: Iterable[str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.settings = settings
        self.state = StateFolder(settings.vyris_state_dir)
        self._environment = dict(environment)
        self._only = set(only) if only is not None else None
        # The folder of `.env` and of relative paths in settings.
        self._directory = directory or Path.cwd()
        self._supervisor = Supervisor(self.state, self._directory)
        self._graph: graph.Graph | None = None

    @classmethod
    def from_environment(cls) -> Self:
        """Describe the stack of the environment and `.env`. Raises StackRefused for a wrong setting."""
        written = {name: value for name, value in dotenv_values(".env").items() if value is not None}
        return cls(StackSettings(), {**written, **os.environ})

    @classmethod
    def find(cls) -> Self:
        """Find the stack on the environment's state folder, to show or stop it: no other setting is read."""
        return cls(StackSettings.model_construct(vyris_state_dir=StateSettings().vyris_state_dir), {})

    @classmethod
    def isolated(
        cls,
        state_dir: Path,
        *,
        only: Iterable[str] | None = None,
        replicas: Mapping[str, int] | None = None,
        redis_url: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Describe a stack on free ports, with only the settings in `environment` and none of this machine's.

        `replicas`: the number of processes of each service, by its name; by default one.
        """
        ports = PortTaker(set())
        processes = dict.fromkeys(NAMES, 1) | dict(replicas or {})
        if len(processes) > len(NAMES):
            raise ValueError(f"services are {', '.join(NAMES)}; replicas were given for {', '.join(replicas or ())}")
        of_services: dict[str, Any] = {f"{name}_port": ports.free_port() for name in NAMES}
        of_services |= {f"{name}_replicas": processes[name] for name in NAMES}
        system = {name: os.environ[name] for name in graph.SYSTEM_VARIABLES if name in os.environ}
        settings = StackSettings(
            _env_file=None,
            gateway_port=ports.free_port(),
            gateway_grpc_port=ports.free_port(),
            vyris_state_dir=state_dir,
            database_url="",
            redis_url=redis_url,
            smtp_url="",
            vyris_env="development",
            **of_services,
        )
        return cls(settings, {**system, **(environment or {})}, only=only, directory=state_dir.absolute())

    # Life

    def start(self, *, detached: bool = False, on_progress: Progress = lambda _: None) -> None:
        """Bring everything up and return when it is ready. Raises StackRefused, with nothing left running."""
        self.state.create()
        with self.state.starting():
            if self._supervisor.pid() is not None:
                raise StackRefused(f"A stack already runs on {self.state.root}: stop it with `make down`.")
            reason = unfit_reason()
            if reason:
                raise StackRefused(reason)
            self._refuse_taken_ports()
            self.state.create_sockets_folder()
            self._graph = graph.build(self.settings, self._environment, self.state, self._only)
            try:
                Start(
                    self._graph, self.state, self._supervisor, directory=self._directory, on_progress=on_progress
                ).bring_up(self.database_url, detached=detached)
            except BaseException:
                self.stop()
                raise

    def stop(self) -> bool:
        """Stop all processes of this state folder, also those that another command started. Return whether any ran."""
        ran = self._supervisor.stop()
        self.state.remove_sockets_folder()
        return ran

    def is_running(self) -> bool:
        """Whether a supervisor runs on this state folder."""
        return self._supervisor.pid() is not None

    def states(self) -> dict[str, dict[str, int | str]]:
        """Each process's `state` (supervisord's name), `pid` (0: none) and `uptime_s`."""
        return {
            name: {"state": info["statename"], "pid": info["pid"], "uptime_s": _uptime_s(info)}
            for name, info in self._supervisor.states().items()
        }

    def welcome(self) -> str:
        """The text with all addresses, and a first request to paste."""
        return welcome(self.settings, self.state, self.listens, self.service_environment)

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    # Addresses

    @property
    def listens(self) -> dict[str, int | str]:
        """Ports and URLs by name, as in `ports.json`."""
        return self._running_graph.listens()

    @property
    def gateway_url(self) -> str:
        """Base URL of the JSON gateway."""
        return f"http://127.0.0.1:{self.settings.gateway_port}"

    @property
    def gateway_grpc_target(self) -> str:
        """Target of the gateway's native gRPC listener."""
        return f"127.0.0.1:{self.settings.gateway_grpc_port}"

    @property
    def database_url(self) -> str:
        """URL of the suite's database."""
        return self.settings.database_url or postgres.database_url(self.state)

    @property
    def redis_url(self) -> str:
        """URL of the bouncer's Redis."""
        return self._running_graph.service_environment["REDIS_URL"]

    @property
    def service_environment(self) -> Mapping[str, str]:
        """The services' environment, for commands that need the same settings."""
        return self._running_graph.service_environment

    def target(self, process: str) -> str:
        """GRPC target of one service process (`mint`, `mint-2`, `wallet` …)."""
        return f"127.0.0.1:{self.listens[process]}"

    def log_file(self, process: str) -> Path:
        """The file of a process's output."""
        return self.state.log_file(process)

    # Faults

    @property
    def processes(self) -> list[str]:
        """Names of the processes, in their order of starting."""
        return [spec.name for spec in self._running_graph.specs]

    def spec(self, process: str) -> ProcessSpec:
        """Description of one process."""
        return next(spec for spec in self._running_graph.specs if spec.name == process)

    def pid(self, process: str) -> int:
        """Process id of a running process, 0 when it does not run."""
        return int(self._supervisor.states()[process]["pid"])

    def kill(self, process: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a process; the supervisor starts it again when it ends."""
        os.kill(self.pid(process), number)

    def pause(self, process: str) -> None:
        """Freeze a process and its children (SIGSTOP)."""
        for member in self._tree(process):
            member.suspend()

    def resume(self, process: str) -> None:
        """Continue a paused process (SIGCONT)."""
        for member in self._tree(process):
            member.resume()

    def stop_process(self, process: str) -> None:
        """Stop one process gracefully and keep it down."""
        self._supervisor.stop_process(self.spec(process))

    def start_process(
        self,
        process: str,
        *,
        environment: Mapping[str, str] | None = None,
        argv: Sequence[str] | None = None,
        wait: bool = True,
    ) -> None:
        """Start a stopped process. `environment` adds to its settings, `argv` replaces its command.

        Both stay until the next call, also for a restart after the process died.
        """
        spec = self.spec(process)
        if argv is not None:
            spec = replace(spec, argv=tuple(argv))
        prepare([spec], self.state)
        self._supervisor.write_launch(spec, environment)
        self._supervisor.start_process(spec)
        if wait:
            self.wait_ready([process])

    def restart(self, process: str, *, environment: Mapping[str, str] | None = None, wait: bool = True) -> None:
        """Stop and start one process."""
        self.stop_process(process)
        self.start_process(process, environment=environment, wait=wait)

    def is_ready(self, process: str) -> bool:
        """Whether a process is ready."""
        return self.spec(process).is_ready()

    def wait_ready(self, processes: Iterable[str] | None = None, limit_s: float = READY_LIMIT_S) -> None:
        """Wait until these processes (or all) are ready. Raises StackRefused with the last words of one that is not."""
        chosen = set(self.processes if processes is None else processes)
        specs = [spec for spec in self._running_graph.specs if spec.name in chosen]
        wait_until_ready(specs, self._supervisor, self.state, limit_s)

    def _refuse_taken_ports(self) -> None:
        wanted = self.settings.fixed_ports()
        if self._only is not None:
            owners = {"GATEWAY_GRPC_PORT": "gateway"}
            wanted = {
                name: port
                for name, port in wanted.items()
                if owners.get(name, name.removesuffix("_PORT").lower()) in self._only
            }
        refuse_taken(wanted)

    @property
    def _running_graph(self) -> graph.Graph:
        if self._graph is None:
            raise RuntimeError("the stack was not started by this object")
        return self._graph

    def _tree(self, process: str) -> list[psutil.Process]:
        root = psutil.Process(self.pid(process))
        return [root, *root.children(recursive=True)]


def _uptime_s(info: Mapping[str, Any]) -> int:
    return int(info["now"]) - int(info["start"]) if info["pid"] else 0
