"""PgBouncer with the configuration of `docs/operations.md`."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from stack import launch
from stack.local import Stack
from suite import NAMES
from tests.neighbours.balancers import program
from tests.neighbours.documented import documented, with_replacements
from tests.ports import free_port

POOLED: Final = {"POSTGRES_POOLER": "transaction"}
START_LIMIT_S: Final = 10.0
OWNER: Final = "vyris"


@contextlib.contextmanager
def pooler(databases: Stack, folder: Path, changes: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run PgBouncer before the Postgres of a stack. Yields the URL of the database that `databases` names."""
    port = free_port()
    users = folder / "users.txt"
    users.write_text(f'"{OWNER}" ""\n', encoding="utf-8")
    text = with_replacements(
        documented("ini"),
        {
            # The databases of tests come and go.
            "vyris = host=postgres port=5432 dbname=vyris": f"* = host={databases.state.sockets} port=5432",
            "listen_addr = 0.0.0.0": "listen_addr = 127.0.0.1",
            "listen_port = 6432": f"listen_port = {port}\nunix_socket_dir =",
            "auth_type = scram-sha-256": "auth_type = trust",
            "/etc/pgbouncer/userlist.txt": str(users),
            **(changes or {}),
        },
    )
    (folder / "pgbouncer.ini").write_text(text, encoding="utf-8")
    launch_file = folder / "pgbouncer.launch.json"
    argv = [program("pgbouncer"), str(folder / "pgbouncer.ini")]
    # It refuses to run as root, as Postgres does.
    way = databases.spec("postgres").sheds_root
    launch_file.write_text(launch.description(argv, {}, folder, death_signal=signal.SIGTERM, sheds_root=way))
    log = folder / "pgbouncer.log"
    with log.open("wb") as output:
        process = subprocess.Popen(launch.command(launch_file), stdout=output, stderr=output)
    try:
        _wait(process, port, log)
        yield f"postgresql://{OWNER}@127.0.0.1:{port}/{urlsplit(databases.database_url).path.lstrip('/')}"
    finally:
        process.kill()
        process.wait(timeout=10)


def put_behind(pooled_url: str, stack: Stack) -> None:
    """Start the services of a stack again, behind the pooler."""
    services = [name for name in stack.processes if name.partition("-")[0] in NAMES]
    for name in services:
        stack.stop_process(name)
    for name in services:
        stack.start_process(name, environment={"DATABASE_URL": pooled_url, **POOLED}, wait=False)
    stack.wait_ready()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + START_LIMIT_S
    while True:
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"pgbouncer does not listen: {log.read_text()}")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.02)
