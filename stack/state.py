"""The state folder: all files of the stack."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from services.server.runtime.whole_file import write_whole
from stack.refusal import StackRefused

# sockaddr_un has 108 bytes with the closing zero. Our longest name: supervisord binds
# `supervisor.sock.<pid>` before it renames.
SOCKET_PATH_LIMIT = 107
PRIVATE = 0o700
LONGEST_SOCKET_NAME = "supervisor.sock.4194304"
SUPERVISOR_CONFIGURATION = "supervisord.conf"


class StateFolder:
    """Paths under the state folder; `create` makes them, private to the owner."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.run = self.root / "run"
        self.logs = self.root / "logs"
        self.mail = self.root / "mail"
        self.keys = self.root / "keys"
        self.postgres_data = self.root / "postgres"
        self.ports_file = self.root / "ports.json"
        self.supervisor_configuration = self.run / SUPERVISOR_CONFIGURATION
        self.gateway_configuration = self.run / "envoy.yaml"

    def create(self) -> None:
        """Make the folders (0700). Raises StackRefused if the folder cannot be made or is not ours."""
        try:
            self.root.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            if self.root.stat().st_uid != os.geteuid():
                raise StackRefused(
                    f"The state folder {self.root} belongs to another user: set VYRIS_STATE_DIR to one of your own."
                )
            self.root.chmod(PRIVATE)
            for folder in (self.run, self.logs, self.mail, self.keys):
                folder.mkdir(mode=PRIVATE, exist_ok=True)
        except OSError as failure:
            raise StackRefused(
                f"The state folder {self.root} cannot be used ({failure.strerror}): "
                "set VYRIS_STATE_DIR to a folder that you can write."
            ) from failure

    @property
    def sockets(self) -> Path:
        """Folder of the unix sockets: `run/`, or a private one in the temporary folder if that path is too long."""
        if len(os.fsencode(self.run / LONGEST_SOCKET_NAME)) <= SOCKET_PATH_LIMIT:
            return self.run
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"vyris-{os.geteuid()}-{digest}"

    def create_sockets_folder(self) -> None:
        """Make the folder of the sockets. Raises StackRefused if another user has made one of that name."""
        folder = self.sockets
        folder.mkdir(mode=PRIVATE, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != PRIVATE:
            raise StackRefused(
                f"{folder} is not a private folder of yours: remove it, or choose a shorter VYRIS_STATE_DIR."
            )

    def remove_sockets_folder(self) -> None:
        """Remove a temporary sockets folder with its content."""
        if self.sockets == self.run or not self.sockets.is_dir():
            return
        for leftover in self.sockets.iterdir():
            leftover.unlink(missing_ok=True)
        self.sockets.rmdir()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Lock the state folder while a stack starts in it. Raises StackRefused if another one is starting."""
        with (self.run / "start.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as failure:
                raise StackRefused(f"Another stack is just starting in {self.root}.") from failure
            yield

    def write_private(self, path: Path, text: str) -> None:
        """Write `text` to `path` atomically, readable only by the owner."""
        write_whole(path, text.encode())

    def log_file(self, process: str) -> Path:
        """The file of a process's output."""
        return self.logs / f"{process}.log"

    def write_ports(self, ports: dict[str, Any]) -> None:
        """Write the addresses into `ports.json`."""
        self.write_private(self.ports_file, json.dumps(ports, indent=2) + "\n")

    def read_ports(self) -> dict[str, Any]:
        """Read the addresses in `ports.json`; empty before the first start. Raises StackRefused if it is damaged."""
        try:
            listed = json.loads(self.ports_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            listed = None
        if not isinstance(listed, dict):
            raise StackRefused(f"{self.ports_file} is damaged: `make down` and `make up` write it again.")
        return listed


def database_place(url: str) -> str:
    """The database that a URL names, without the login: `db.example:5432/vyris`. It contains no secret."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    host = parts.netloc.rpartition("@")[2] or ",".join(query.get("host", []))
    return f"{host}{parts.path}"
