"""Find free ports, and the users of taken ones."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping
from pathlib import Path

import psutil

from stack.refusal import StackRefused
from stack.state import SUPERVISOR_CONFIGURATION

# Below the range from which kernels take the ports of outgoing connections (32768 on Linux, 49152 elsewhere): a port
# in that range can be lost to one while its process restarts.
FREE_PORT_RANGE = range(20_000, 32_000)
TRIES = 200


class PortTaker:
    """Allocates free ports, none twice."""

    def __init__(self, reserved: set[int]) -> None:
        self._given = set(reserved)

    def free_port(self) -> int:
        """Allocate a free port of the loopback interface. Raises StackRefused if none was found."""
        for _ in range(TRIES):
            port = random.choice(FREE_PORT_RANGE)  # noqa: S311
            if port not in self._given and is_free(port):
                self._given.add(port)
                return port
        raise StackRefused(f"No free port was found between {FREE_PORT_RANGE.start} and {FREE_PORT_RANGE.stop}.")


def is_free(port: int) -> bool:
    """Whether a server can listen on `port` of 127.0.0.1, and of every interface."""
    for address in ("127.0.0.1", "0.0.0.0"):  # noqa: S104
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def _is_reserved(port: int) -> bool:
    """Whether this user may not listen on the port, even if it is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            return True
        except OSError:
            return False
    return False


def refuse_taken(ports: Mapping[str, int]) -> None:
    """Check ports by their setting's name. Raises StackRefused for the first that is taken or used twice."""
    seen: dict[int, str] = {}
    for setting, port in ports.items():
        if port in seen:
            raise StackRefused(f"{seen[port]} and {setting} are both {port}: set one of them to another port.")
        seen[port] = setting
        if _is_reserved(port):
            raise StackRefused(f"Port {port} may be listened on by root alone: set {setting} to another port.")
        if not is_free(port):
            raise StackRefused(f"Port {port} is taken{_by_whom(port)}, or set {setting} to another port.")


def _by_whom(port: int) -> str:
    """The process that has the port, if we may know it, and how to stop it."""
    unknown = ": stop what listens there"
    try:
        connections = [c for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port]
        if connections and all(c.status == psutil.CONN_TIME_WAIT for c in connections):
            return " for a minute at most, by a connection that has just ended: try again then"
        holders = [c.pid for c in connections if c.pid]
        if not holders:
            return unknown
        holder = psutil.Process(holders[0])
        stack = _stack_of(holder)
        return stack or f" by {holder.name()} (process {holder.pid}): stop that process"
    except (psutil.Error, OSError):
        return unknown


def _stack_of(process: psutil.Process) -> str:
    """The other stack that has the port, if any: if its process is killed alone, its supervisor starts it again.

    `make down` may not find that stack, because its state folder was removed while it ran.
    """
    for parent in process.parents():
        configuration = Path(parent.cmdline()[-1]) if "supervisor.supervisord" in parent.cmdline() else None
        if configuration is not None and configuration.name == SUPERVISOR_CONFIGURATION:
            folder = configuration.parent.parent
            return f" by the stack in {folder}: stop that one (`kill {parent.pid}`)"
    return ""
