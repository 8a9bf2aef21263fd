"""The services and the gateway of a stack in containers of the two images: `pytest --through images`."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from stack.graph import SYSTEM_VARIABLES
from stack.local import Stack
from suite import NAMES
from tests.ports import free_port

USER: Final = 10001
GATEWAY: Final = "localhost/vyris-gateway"
SERVICES: Final = "localhost/vyris-services"
# podman's own limits are above what some machines allow.
FILES: Final = min(65_536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
LIMITS: Final = (f"--ulimit=nofile={FILES}:{FILES}", "--ulimit=nproc=4096:4096")
PODMAN: Final = (shutil.which("podman") or "podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs")
RUN: Final = ("run", "--rm", "--pull", "never", "--network", "host", *LIMITS)
CONFINED: Final = (
    "--log-driver", "none", "--read-only", "--tmpfs", "/tmp",  # noqa: S108 - the container's
    "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
)  # fmt: skip


def missing() -> str:
    """Say why nothing can run, or the empty text."""
    tools = [tool for tool in ("podman", "runc") if shutil.which(tool) is None]
    if tools:
        return f"{' and '.join(tools)} not installed (Debian's packages have these names)"
    if os.geteuid() != 0:
        return "containers are run as root here"
    found = [subprocess.run(["podman", "image", "exists", name], check=False) for name in (SERVICES, GATEWAY)]
    return "" if all(done.returncode == 0 for done in found) else "the images are not built: `make images`"


class Containers:
    """The containers of a stack, by the names of its processes, and how long each took to be ready."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.start_s: dict[str, float] = {}
        self._prefix = f"vyris-test-{uuid.uuid4().hex[:8]}"
        self._keys = stack.state.root / "keys"
        self._databases: dict[str, str] = {}
        self._processes = [name for name in stack.processes if name.partition("-")[0] in (*NAMES, "gateway")]

    def replace_processes(self) -> None:
        """Stop the services and the gateway, and start them again from the images. The databases get TCP ports."""
        self._stop_processes()
        self._open_databases()
        for path in (self._keys, *self._keys.rglob("*")):
            os.chown(path, USER, USER)
        for name in self._processes:
            began_s = time.monotonic()
            self.stack.start_process(name, argv=self.command(name))
            self.start_s[name] = time.monotonic() - began_s

    def command(self, process: str, changes: Mapping[str, str] | None = None, *, name: str = "") -> list[str]:
        """The command line that runs a process of the stack, with changes of its settings and another name."""
        kind = process.partition("-")[0]
        image, arguments = (GATEWAY, ()) if kind == "gateway" else (SERVICES, (f"services.{kind}",))
        settings = {**self.stack.service_environment, **self.stack.spec(process).environment, **self._databases}
        if kind == "gateway":
            ports = {"ENVOY_ADMIN_PORT": "envoy_admin", "GATEWAY_METRICS_PORT": "gateway_metrics"}
            settings |= {variable: str(self.stack.listens[port]) for variable, port in ports.items()}
            settings["GATEWAY_ACCESS_LOG_PATH"] = "-"
        settings |= changes or {}
        given = [f"--env={key}={value}" for key, value in settings.items() if key not in SYSTEM_VARIABLES]
        place = ("--name", self.name(name or process), "--volume", f"{self._keys}:{self._keys}")
        return [*PODMAN, *RUN, *CONFINED, *place, *given, image, *arguments]

    def name(self, process: str) -> str:
        """The container's name."""
        return f"{self._prefix}-{process}"

    def pid(self, process: str) -> int:
        """The id of the container's first process."""
        return int(podman("inspect", "--format", "{{.State.Pid}}", self.name(process)))

    def remove(self) -> None:
        """Stop the processes, which would be started again, and remove what is left."""
        self._stop_processes()
        left = podman("ps", "--all", "--quiet", "--filter", f"name={self._prefix}").split()
        if left:
            podman("rm", "--force", *left)

    def _stop_processes(self) -> None:
        for name in reversed(self._processes):
            self.stack.stop_process(name)

    def _open_databases(self) -> None:
        # An address of its own, because Postgres' socket is named by the same port.
        host = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}.1"
        port = free_port()
        self._reopen("postgres", "-c", f"listen_addresses={host}")
        self._reopen("valkey", "--port", str(port))
        self._databases = {
            "DATABASE_URL": f"postgresql://vyris@{host}:5432/vyris?sslmode=disable",
            "REDIS_URL": f"redis://127.0.0.1:{port}/0",
        }

    def _reopen(self, name: str, *arguments: str) -> None:
        self.stack.stop_process(name)
        self.stack.start_process(name, argv=(*self.stack.spec(name).argv, *arguments))


def podman(*arguments: str) -> str:
    """What podman prints; raises CalledProcessError."""
    return subprocess.run([*PODMAN, *arguments], check=True, capture_output=True, text=True).stdout.strip()


@contextlib.contextmanager
def in_containers(stack: Stack) -> Iterator[Containers]:
    """Run a stack's services and gateway from the images until the end."""
    if reason := missing():
        pytest.skip(reason)
    containers = Containers(stack)
    try:
        containers.replace_processes()
        yield containers
    finally:
        containers.remove()


@contextlib.contextmanager
def mounted(image: str) -> Iterator[Path]:
    """The root of an image as a folder."""
    folder = Path(podman("image", "mount", image))
    try:
        yield folder
    finally:
        podman("image", "unmount", image)
