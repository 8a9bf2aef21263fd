"""The local stack as one object: start it, break it, stop it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from dotenv import dotenv_values

from schema.migrate import MigrationFailed, migrate
from stack import graph, postgres
from stack.log_lines import last_words
from stack.ports import PortTaker, refuse_taken
from stack.preflight import unfit_reason
from stack.processes import ProcessSpec, Tier
from stack.refusal import StackRefused
from stack.settings import StackSettings
from stack.state import StateFolder
from stack.steps import Step
from stack.supervision import Supervisor
from stack.welcome import welcome

# Far more than a machine needs that has nothing else to do.
READY_LIMIT_S = 90.0
# sysexits.h: a port that is taken, a wrong setting. Starting again mends neither.
FINAL_EXITS = frozenset({69, 78})
# A process that ended this often while it should have become ready will not.
ATTEMPTS_LIMIT = 3
GENERATE_LIMIT_S = 60.0
# A drop of ten million numbers takes minutes.
DROP_LIMIT_S = 900.0
POLL_S = 0.03
DATABASES = frozenset({"postgres", "valkey"})

Progress = Callable[[str], None]


class Stack:
    """The processes over one state folder.

    `with Stack.isolated(folder) as stack:` starts everything on free ports and leaves nothing running. `only` limits it
    to some processes (`DATABASES`). Start it from a thread that lives as long as the stack should: the kernel ends the
    stack when that thread ends, unless it was started `detached`.
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
        # Where relative paths in settings, and `.env`, are looked for.
        self._directory = directory or Path.cwd()
        self._supervisor = Supervisor(self.state, self._directory)
        self._graph: graph.Graph | None = None

    @classmethod
    def from_environment(cls) -> Self:
        """Describe the stack that the environment and `.env` ask for. Raises StackRefused for a wrong setting."""
        written = {name: value for name, value in dotenv_values(".env").items() if value is not None}
        return cls(StackSettings.load(), {**written, **os.environ})

    @classmethod
    def isolated(
        cls,
        state_dir: Path,
        *,
        only: Iterable[str] | None = None,
        mint_replicas: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Describe a stack on free ports that knows nothing of this machine's settings but what `environment` gives."""
        ports = PortTaker(set())
        system = {name: os.environ[name] for name in graph.SYSTEM_VARIABLES if name in os.environ}
        settings = StackSettings(
            _env_file=None,
            gateway_port=ports.free_port(),
            gateway_grpc_port=ports.free_port(),
            mint_port=ports.free_port(),
            encounter_port=ports.free_port(),
            wallet_port=ports.free_port(),
            reforge_port=ports.free_port(),
            vyris_state_dir=state_dir,
            database_url="",
            redis_url="",
            smtp_url="",
            vyris_env="development",
            mint_replicas=mint_replicas,
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
                self._bring_up(self._graph, detached, on_progress)
            except BaseException:
                self.stop()
                raise

    def stop(self) -> bool:
        """Stop every process of this state folder, whoever started it; tells whether any ran."""
        ran = self._supervisor.stop()
        self.state.remove_sockets_folder()
        return ran

    def is_running(self) -> bool:
        """Whether a supervisor runs on this state folder."""
        return self._supervisor.pid() is not None

    def states(self) -> dict[str, dict[str, int | str]]:
        """Each process' `state` (supervisord's words), `pid` (0: none) and `uptime_s`."""
        return {
            name: {"state": info["statename"], "pid": info["pid"], "uptime_s": _uptime_s(info)}
            for name, info in self._supervisor.states().items()
        }

    def welcome(self) -> str:
        """What listens where, and a first request to paste."""
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

    # What listens where

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
        """What the services get as environment, for commands that should see the same settings."""
        return self._running_graph.service_environment

    def target(self, process: str) -> str:
        """GRPC target of one service process (`mint`, `mint-2`, `wallet` …)."""
        return f"127.0.0.1:{self.listens[process]}"

    def log_file(self, process: str) -> Path:
        """Where a process' output goes."""
        return self.state.logs / f"{process}.log"

    # Faults

    @property
    def processes(self) -> list[str]:
        """Names of the processes, in their order of starting."""
        return [spec.name for spec in self._running_graph.specs]

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
        """Let a paused process go on (SIGCONT)."""
        for member in self._tree(process):
            member.resume()

    def stop_process(self, process: str) -> None:
        """Stop one process in order and keep it down."""
        self._supervisor.stop_process(self._spec(process))

    def start_process(
        self,
        process: str,
        *,
        environment: Mapping[str, str] | None = None,
        argv: Sequence[str] | None = None,
        wait: bool = True,
    ) -> None:
        """Start a process that was stopped; `environment` adds to its settings, `argv` replaces its command.

        Both hold until the next call; a process that died is started again with them.
        """
        spec = self._spec(process)
        if argv is not None:
            spec = replace(spec, argv=tuple(argv))
        if spec.name == "postgres":
            postgres.prepare(self.state, spec)
        self._supervisor.write_launch(spec, environment)
        self._supervisor.start_process(spec)
        if wait:
            self.wait_ready([process])

    def restart(self, process: str, *, environment: Mapping[str, str] | None = None, wait: bool = True) -> None:
        """Stop and start one process."""
        self.stop_process(process)
        self.start_process(process, environment=environment, wait=wait)

    def is_ready(self, process: str) -> bool:
        """Whether a process answers that it can serve."""
        return self._spec(process).is_ready()

    def wait_ready(self, processes: Iterable[str] | None = None, limit_s: float = READY_LIMIT_S) -> None:
        """Wait until these processes (or all) are ready. Raises StackRefused with the last words of one that is not."""
        chosen = set(self.processes if processes is None else processes)
        self._wait([spec for spec in self._running_graph.specs if spec.name in chosen], limit_s)

    # Steps of starting

    def _bring_up(self, plan: graph.Graph, detached: bool, on_progress: Progress) -> None:
        steps: list[Step] = []
        try:
            # Beside the databases' start: it needs none of them.
            if plan.tier(Tier.GATEWAY):
                output = str(self.state.gateway_configuration)
                generate = ("gateway", "generate", "--output", output)
                purpose = "Writing the gateway's configuration"
                steps.append(self._step(*generate, purpose=purpose, environment=plan.gateway_environment))
            self._bring_up_storage(plan, detached, on_progress)
            if plan.tier(Tier.SERVICES):
                self._migrate(on_progress)
                create_drop = ("cli.main", "drop", "create", "--if-missing")
                purpose = "Creating the drop that DROP_TIER, DROP_YEAR and DROP_CAPACITY name"
                steps.append(self._step(*create_drop, purpose=purpose, environment=plan.service_environment))
                self._start(plan.tier(Tier.SERVICES))
                on_progress(steps[-1].finish(DROP_LIMIT_S))
                self._wait(plan.tier(Tier.SERVICES), READY_LIMIT_S, on_progress)
            if plan.tier(Tier.GATEWAY):
                steps[0].finish(GENERATE_LIMIT_S)
                self._start(plan.tier(Tier.GATEWAY))
                self._wait(plan.tier(Tier.GATEWAY), READY_LIMIT_S, on_progress)
        finally:
            for step in steps:
                step.abandon()

    def _bring_up_storage(self, plan: graph.Graph, detached: bool, on_progress: Progress) -> None:
        storage = plan.tier(Tier.STORAGE)
        for spec in storage:
            if spec.name == "postgres":
                postgres.prepare(self.state, spec)
        # The kernel's link is to the starting thread; only the main thread surely lives long enough.
        ends_with_us = not detached and threading.current_thread() is threading.main_thread()
        self._supervisor.start(plan.specs, ends_with_us=ends_with_us)
        self.state.write_ports(plan.listens())
        self._start(storage)
        self._wait(storage, READY_LIMIT_S, on_progress)

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

    def _start(self, specs: list[ProcessSpec]) -> None:
        for spec in specs:
            self._supervisor.start_process(spec)

    def _step(self, module: str, *arguments: str, purpose: str, environment: Mapping[str, str]) -> Step:
        return Step(module, *arguments, purpose=purpose, environment=environment, directory=self._directory)

    def _wait(self, specs: list[ProcessSpec], limit_s: float, on_progress: Progress = lambda _: None) -> None:
        deadline = time.monotonic() + limit_s
        waiting = list(specs)
        attempts: dict[str, set[int]] = {spec.name: set() for spec in specs}
        while waiting:
            for spec in [spec for spec in waiting if spec.is_ready()]:
                waiting.remove(spec)
                on_progress(f"{spec.name} is ready")
            hopeless = self._hopeless(waiting, attempts)
            if waiting and (hopeless or time.monotonic() > deadline):
                raise StackRefused(self._reason(hopeless or waiting[0]))
            time.sleep(POLL_S if waiting else 0)

    def _hopeless(self, waiting: list[ProcessSpec], attempts: dict[str, set[int]]) -> ProcessSpec | None:
        """A process that will not become ready; `attempts` collects the process ids that each one had."""
        states = self._supervisor.states()
        for spec in waiting:
            info = states[spec.name]
            if info["pid"]:
                attempts[spec.name].add(int(info["pid"]))
            elif info["statename"] in {"BACKOFF", "EXITED", "FATAL"} and (
                info["exitstatus"] in FINAL_EXITS or len(attempts[spec.name]) >= ATTEMPTS_LIMIT
            ):
                return spec
        return None

    def _reason(self, spec: ProcessSpec) -> str:
        log = self.log_file(spec.name)
        said = last_words(log.read_text(encoding="utf-8", errors="replace") if log.exists() else "")
        advice = (
            f" If its data is damaged and may be lost, remove {self.state.postgres_data} and start again."
            if spec.name == "postgres"
            else ""
        )
        return f"{spec.name} did not become ready: {said or 'it said nothing'} (from {log}).{advice}"

    def _migrate(self, on_progress: Progress) -> None:
        try:
            migrate(self.database_url)
        except MigrationFailed as failure:
            raise StackRefused(str(failure)) from failure
        on_progress("the schema is up to date")

    @property
    def _running_graph(self) -> graph.Graph:
        if self._graph is None:
            raise RuntimeError("the stack was not started by this object")
        return self._graph

    def _spec(self, process: str) -> ProcessSpec:
        return next(spec for spec in self._running_graph.specs if spec.name == process)

    def _tree(self, process: str) -> list[psutil.Process]:
        root = psutil.Process(self.pid(process))
        return [root, *root.children(recursive=True)]


def _uptime_s(info: Mapping[str, Any]) -> int:
    return int(info["now"]) - int(info["start"]) if info["pid"] else 0
