"""Wait until processes are ready, and give up on one that cannot become ready."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from services.server.runtime.settings import EXIT_CONFIGURATION, EXIT_PORT_TAKEN
from stack.log_lines import last_words
from stack.processes import ProcessSpec
from stack.refusal import StackRefused
from stack.state import StateFolder
from stack.supervision import Supervisor

# Far more than an idle machine needs.
READY_LIMIT_S = 90.0
# A restart fixes neither.
FINAL_EXITS = frozenset({EXIT_PORT_TAKEN, EXIT_CONFIGURATION})
# A process that ended this often before it was ready will not become ready.
ATTEMPTS_LIMIT = 3
POLL_S = 0.1

Progress = Callable[[str], None]


def wait_until_ready(
    specs: Iterable[ProcessSpec],
    supervisor: Supervisor,
    state: StateFolder,
    limit_s: float = READY_LIMIT_S,
    on_progress: Progress = lambda _: None,
) -> None:
    """Wait until all are ready. Raises StackRefused with the last words of one that is not."""
    deadline = time.monotonic() + limit_s
    waiting = list(specs)
    attempts: dict[str, set[int]] = {spec.name: set() for spec in waiting}
    while waiting:
        for spec in [spec for spec in waiting if spec.is_ready()]:
            waiting.remove(spec)
            on_progress(f"{spec.name} is ready")
        hopeless = _hopeless(waiting, supervisor, attempts)
        if waiting and (hopeless or time.monotonic() > deadline):
            raise StackRefused(_reason(hopeless or waiting[0], state))
        time.sleep(POLL_S if waiting else 0)


def _hopeless(waiting: list[ProcessSpec], supervisor: Supervisor, attempts: dict[str, set[int]]) -> ProcessSpec | None:
    """A process that will not become ready; `attempts` collects the process ids that each one had."""
    states = supervisor.states()
    for spec in waiting:
        info = states[spec.name]
        if info["pid"]:
            attempts[spec.name].add(int(info["pid"]))
        elif info["statename"] in {"BACKOFF", "EXITED", "FATAL"} and (
            info["exitstatus"] in FINAL_EXITS or len(attempts[spec.name]) >= ATTEMPTS_LIMIT
        ):
            return spec
    return None


def _reason(spec: ProcessSpec, state: StateFolder) -> str:
    log = state.log_file(spec.name)
    words = last_words(log.read_text(encoding="utf-8", errors="replace") if log.exists() else "")
    advice = (
        f" If its data is damaged and may be lost, remove {state.postgres_data} and start again."
        if spec.name == "postgres"
        else ""
    )
    return f"{spec.name} did not become ready: {words or 'it logged nothing'} (from {log}).{advice}"
