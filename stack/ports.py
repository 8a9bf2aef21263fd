"""Free ports, and who sits on the taken ones."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping

import psutil

from stack.refusal import StackRefused

# Below the range from which kernels take the ports of outgoing connections (32768 on Linux, 49152 elsewhere): a port
# in that range can be lost to one while its process restarts.
FREE_PORT_RANGE = range(20_000, 32_000)
TRIES = 200


class PortTaker:
    """Hands out free ports, none twice."""

    def __init__(self, reserved: set[int]) -> None:
        self._given = set(reserved)

    def free_port(self) -> int:
        """Take a port of the loopback interface on which nothing listens. Raises StackRefused when none was found."""
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


def refuse_taken(ports: Mapping[str, int]) -> None:
    """Check ports by the name of their setting. Raises StackRefused naming the first that is taken, or wanted twice."""
    seen: dict[int, str] = {}
    for setting, port in ports.items():
        if port in seen:
            raise StackRefused(f"{seen[port]} and {setting} are both {port}: set one of them to another port.")
        seen[port] = setting
        if not is_free(port):
            raise StackRefused(
                f"Port {port} is taken{_by_whom(port)}: stop that process, or set {setting} to another port."
            )


def _by_whom(port: int) -> str:
    try:
        holders = [c.pid for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port and c.pid]
        return f" by {psutil.Process(holders[0]).name()} (process {holders[0]})" if holders else ""
    except (psutil.Error, OSError):
        return ""
