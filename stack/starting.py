"""Start the stack, tier after tier: wait for each tier, and run the steps between them.

storage     Postgres, Valkey, the mail sink     (in parallel, the gateway's configuration is generated)
            then the schema is migrated
services    while they start, the default drop is created
gateway     once they serve
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from schema.migrate import WAIT_LIMIT_S, MigrationFailed, migrate
from stack import postgres
from stack.graph import Graph
from stack.processes import ProcessSpec, Tier
from stack.readiness import Progress, wait_until_ready
from stack.refusal import StackRefused
from stack.state import StateFolder, database_place
from stack.steps import Step
from stack.supervision import Supervisor

GENERATE_LIMIT_S = 60.0
# A drop of ten million numbers takes minutes.
DROP_LIMIT_S = 900.0


class Start:
    """One start of the processes of a graph. Relative paths in settings are relative to `directory`."""

    def __init__(
        self, graph: Graph, state: StateFolder, supervisor: Supervisor, *, directory: Path, on_progress: Progress
    ) -> None:
        self._graph = graph
        self._state = state
        self._supervisor = supervisor
        self._directory = directory
        self._on_progress = on_progress

    def bring_up(self, database_url: str, *, detached: bool) -> None:
        """Return when everything is ready. Raises StackRefused; processes that run by then keep running."""
        steps: list[Step] = []
        try:
            # In parallel with the databases' start, because it needs none of them.
            if self._graph.tier(Tier.GATEWAY):
                output = str(self._state.gateway_configuration)
                generate = ("gateway", "generate", "--output", output)
                purpose = "Writing the gateway's configuration"
                steps.append(self._step(*generate, purpose=purpose, environment=self._graph.gateway_environment))
            self._bring_up_storage(database_url, detached=detached)
            if self._graph.tier(Tier.SERVICES):
                self._migrate(database_url)
                create_drop = ("cli.main", "drop", "create", "--if-missing")
                purpose = "Creating the drop that DROP_TIER, DROP_YEAR and DROP_CAPACITY name"
                steps.append(self._step(*create_drop, purpose=purpose, environment=self._graph.service_environment))
                self._start(Tier.SERVICES)
                self._on_progress(steps[-1].finish(DROP_LIMIT_S))
                self._wait(Tier.SERVICES)
            if self._graph.tier(Tier.GATEWAY):
                steps[0].finish(GENERATE_LIMIT_S)
                self._start(Tier.GATEWAY)
                self._wait(Tier.GATEWAY)
        finally:
            for step in steps:
                step.abandon()

    def _bring_up_storage(self, database_url: str, *, detached: bool) -> None:
        prepare(self._graph.tier(Tier.STORAGE), self._state)
        # The kernel watches the starting thread; only the main thread is sure to live long enough.
        ends_with_us = not detached and threading.current_thread() is threading.main_thread()
        self._supervisor.start(self._graph.specs, ends_with_us=ends_with_us)
        # Listed with the addresses: the database that the keys in `keys/` belong to.
        self._state.write_ports({**self._graph.listens(), "database": database_place(database_url)})
        self._start(Tier.STORAGE)
        self._wait(Tier.STORAGE)

    def _start(self, tier: Tier) -> None:
        for spec in self._graph.tier(tier):
            self._supervisor.start_process(spec)

    def _wait(self, tier: Tier) -> None:
        wait_until_ready(self._graph.tier(tier), self._supervisor, self._state, on_progress=self._on_progress)

    def _step(self, module: str, *arguments: str, purpose: str, environment: Mapping[str, str]) -> Step:
        return Step(module, *arguments, purpose=purpose, environment=environment, directory=self._directory)

    def _migrate(self, database_url: str) -> None:
        is_own = any(spec.name == "postgres" for spec in self._graph.specs)
        if not is_own:
            self._on_progress(f"waiting up to {WAIT_LIMIT_S} s for the database that DATABASE_URL names")
        try:
            migrate(database_url)
        except MigrationFailed as failure:
            raise StackRefused(str(failure) if is_own else f"{failure} (as DATABASE_URL says)") from failure
        self._on_progress("the schema is up to date")


def prepare(specs: Iterable[ProcessSpec], state: StateFolder) -> None:
    """Prepare the files that a process needs before it starts. Raises StackRefused."""
    for spec in specs:
        if spec.name == "postgres":
            postgres.prepare(state, spec)
