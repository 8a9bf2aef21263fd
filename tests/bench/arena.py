"""Everything that is measured, running side by side on one Postgres and one Redis."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import psutil
import redis

from gateway.command_line import envoy_binary
from stack.graph import SYSTEM_VARIABLES
from stack.local import Stack
from stack.ports import PortTaker
from stack.probes import answers_http, serves_grpc
from stack.settings import StackSettings
from suite import NAMES
from tests.bench import tools
from tests.bench.background import background
from tests.bench.drops import BenchDrop, create_for_baseline, create_suite_drop
from tests.bench.empty_rpc import plain_envoy
from tests.bench.subject import AIO, BASELINE, CEILING, COPY, GO, PLAIN, SUITE, Subject
from tests.bench.usage import Watched, is_service
from tests.fresh_database import with_database

# Each baseline has a database of its own, named after it; all have one schema.
BASELINES = (BASELINE, GO)
MINT_SERVICE = "vyris.mint.v1.MintService"


@dataclass(frozen=True)
class Arena:
    """The suite's stack and all subjects by name."""

    stack: Stack
    folder: Path
    subjects: dict[str, Subject]

    def create_drop(self, drop: BenchDrop, only: str = "") -> None:
        """Create the drop for every subject that has a database, or for one alone."""
        if SUITE in self.subjects and only in {"", SUITE}:
            create_suite_drop(self.stack, drop)
        for name in BASELINES:
            if name in self.subjects and only in {"", name}:
                url = with_database(self.stack.database_url, name)
                asyncio.run(create_for_baseline(url, self.stack.redis_url, drop))

    @contextmanager
    def copy_of_suite(self) -> Iterator[Subject]:
        """The suite once more, only until the block ends: it takes memory and some processor time."""
        with ExitStack() as parts:
            yield _copy(self.stack, self.folder, parts)

    def refreshed_suite(self) -> Subject:
        """The suite with the processes that run now: some may have been started again."""
        return _suite(self.stack)


@contextmanager
def running(names: list[str], environment: dict[str, str] | None = None) -> Iterator[Arena]:
    """Start the suite and the named subjects; `environment` adds to the suite's settings."""
    with tempfile.TemporaryDirectory(prefix="vyris-bench-") as scratch, ExitStack() as running_parts:
        folder = Path(scratch)
        stack = running_parts.enter_context(
            Stack.isolated(folder / "suite", replicas=_as_run(), environment=environment)
        )
        # The wheel's Valkey is ours alone: what an earlier run counted is gone.
        with redis.from_url(stack.redis_url) as client:
            client.ping()
        make = {BASELINE: _baseline, GO: go_baseline, CEILING: _ceiling, PLAIN: _plain, AIO: _aio, COPY: _copy}
        subjects = {
            name: _suite(stack) if name == SUITE else make[name](stack, folder, running_parts) for name in names
        }
        yield Arena(stack, folder, subjects)


def _as_run() -> dict[str, int]:
    """How many processes `make run` starts of each service."""
    settings = StackSettings.model_construct()  # its defaults: figures do not depend on this machine's `.env`
    return {service: settings.replicas(service) for service in NAMES}


def storage_processes(stack: Stack) -> list[Watched]:
    """The databases, which the suite and the baseline share."""
    return [Watched("postgres", stack.pid("postgres")), Watched("valkey", stack.pid("valkey"))]


def stack_processes(stack: Stack, storage: Stack | None = None) -> list[Watched]:
    """The processes of a suite and the supervisor that carries their logs; `storage` is whose databases it uses."""
    services = [Watched(name, stack.pid(name)) for name in stack.processes if is_service(name)]
    return [
        Watched("gateway", stack.pid("gateway")),
        *services,
        *storage_processes(storage or stack),
        _supervisor(stack),
    ]


def _supervisor(stack: Stack) -> Watched:
    return Watched("supervisor", psutil.Process(stack.pid("gateway")).ppid(), with_children=False)


def _suite(stack: Stack) -> Subject:
    return Subject(
        SUITE,
        stack.gateway_url,
        stack_processes(stack),
        database_url=stack.database_url,
        grpc_target=stack.gateway_grpc_target,
    )


def _baseline(stack: Stack, folder: Path, parts: ExitStack) -> Subject:
    tools.install_baseline()
    port = PortTaker(set()).free_port()
    url, connection = _baseline_database(stack, BASELINE)
    environment = {
        **connection,
        "PORT": str(port),
        "NODE_ENV": "production",
        "REDIS_SOCKET": urlsplit(stack.redis_url).path,
        "ENCOUNTER_JWT_PUBLIC_KEY_FILE": str(stack.state.keys / "encounter_public.pem"),
        "PASS_FOLDER": str(_unpacked_pass(stack, folder)),
        "KEYS_FOLDER": str(stack.state.keys),
    }
    pid = parts.enter_context(
        background(
            [tools.find("node"), str(tools.BASELINE / "server.js")],
            environment,
            folder,
            "baseline.log",
            lambda: answers_http(port, "/health"),
        )
    )
    return Subject(
        BASELINE, f"http://127.0.0.1:{port}", [Watched("node", pid), *storage_processes(stack)], database_url=url
    )


def go_baseline(stack: Stack, folder: Path, parts: ExitStack) -> Subject:
    """The Go service, on a database of its own on this Postgres. Raises MissingTool without Go."""
    program = tools.build_with_go(tools.GO_BASELINE)
    port = PortTaker(set()).free_port()
    url, connection = _baseline_database(stack, GO)
    environment = {**connection, "PORT": str(port)}
    pid = parts.enter_context(
        background([str(program)], environment, folder, "go.log", lambda: answers_http(port, "/health"))
    )
    return Subject(GO, f"http://127.0.0.1:{port}", [Watched("go", pid), *storage_processes(stack)], database_url=url)


def _baseline_database(stack: Stack, name: str) -> tuple[str, dict[str, str]]:
    """Create a baseline's database; its URL, and what libpq's variables say of it."""
    url = with_database(stack.database_url, name)
    asyncio.run(_create_baseline_schema(stack.database_url, url, name))
    server = urlsplit(url)
    return url, {"PGDATABASE": name, "PGUSER": server.username or "", "PGHOST": parse_qs(server.query)["host"][0]}


def _unpacked_pass(stack: Stack, folder: Path) -> Path:
    """A pass of the suite's own, from which the baseline takes text and images."""
    owner = {"user_id": "pattern"}
    minted = httpx.post(
        f"{stack.gateway_url}/mint", json={**owner, "receipt_data": "pattern"}, timeout=15, trust_env=False
    )
    asked = {**owner, "membership_id": minted.json()["membership"]["id"]}
    issued = httpx.post(f"{stack.gateway_url}/issue-pass", json=asked, timeout=15, trust_env=False).raise_for_status()
    target = folder / "pattern.pass"
    with zipfile.ZipFile(io.BytesIO(issued.content)) as package:
        package.extractall(target)
    return target


async def _create_baseline_schema(server_url: str, url: str, name: str) -> None:
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    connection = await asyncpg.connect(url)
    try:
        await connection.execute((tools.BASELINE / "schema.sql").read_text(encoding="utf-8"))
    finally:
        await connection.close()


def _ceiling(stack: Stack, folder: Path, parts: ExitStack) -> Subject:
    """The same gateway, generated by the same package from the same protos, before an empty mint service."""
    ports = PortTaker(set(stack.settings.fixed_ports().values()))
    settings = stack.settings.model_copy(
        update={
            "mint_port": ports.free_port(),
            "gateway_port": ports.free_port(),
            "gateway_grpc_port": ports.free_port(),
            "vyris_state_dir": folder / "ceiling",
        }
    )
    pid = _empty_rpc("shipped", settings.mint_port, folder, parts)
    system = {name: os.environ[name] for name in SYSTEM_VARIABLES if name in os.environ}
    gateway = parts.enter_context(Stack(settings, system, only={"gateway"}, directory=folder))
    processes = [Watched("gateway", gateway.pid("gateway")), Watched("mint", pid), _supervisor(gateway)]
    return Subject(CEILING, gateway.gateway_url, processes, grpc_target=gateway.gateway_grpc_target)


def _aio(stack: Stack, folder: Path, parts: ExitStack) -> Subject:
    """The suite once more, with `GRPC_SERVER=aio`."""
    return _second_stack(AIO, stack, folder, parts, {"GRPC_SERVER": "aio"})


def _copy(stack: Stack, folder: Path, parts: ExitStack) -> Subject:
    """The suite once more, without any difference."""
    return _second_stack(COPY, stack, folder, parts, {})


def _second_stack(name: str, stack: Stack, folder: Path, parts: ExitStack, environment: dict[str, str]) -> Subject:
    """The same checkout on the same databases."""
    ports = PortTaker(set(stack.settings.fixed_ports().values()))
    changed: dict[str, object] = {f"{name}_port": ports.free_port() for name in (*NAMES, "gateway", "gateway_grpc")}
    changed |= {"database_url": stack.database_url, "redis_url": stack.redis_url, "vyris_state_dir": folder / name}
    system = {name: os.environ[name] for name in SYSTEM_VARIABLES if name in os.environ}
    settings = stack.settings.model_copy(update=changed)
    other = parts.enter_context(Stack(settings, {**system, **environment}, directory=folder))
    return Subject(
        name,
        other.gateway_url,
        stack_processes(other, storage=stack),
        database_url=stack.database_url,
        grpc_target=other.gateway_grpc_target,
    )


def _plain(stack: Stack, folder: Path, parts: ExitStack) -> Subject:
    """What a tutorial would build: plain `grpc.aio` with initial metadata on each call, one Envoy worker."""
    ports = PortTaker(set())
    upstream_port, port = ports.free_port(), ports.free_port()
    server = _empty_rpc("plain", upstream_port, folder, parts)
    written = folder / "plain-envoy.json"
    written.write_text(plain_envoy.configuration(port, upstream_port), encoding="utf-8")
    arguments = [envoy_binary(), "--disable-hot-restart", "--config-path", str(written), "--concurrency", "1"]
    # Envoy has no /health here: any answer says that it listens.
    envoy = parts.enter_context(
        background([*arguments, "--log-level", "warning"], {}, folder, "plain-envoy.log", lambda: _listens(port))
    )
    return Subject(PLAIN, f"http://127.0.0.1:{port}", [Watched("gateway", envoy), Watched("mint", server)])


def _empty_rpc(module: str, port: int, folder: Path, parts: ExitStack) -> int:
    # The plain server has no health service; a listening port has to do.
    ready = (lambda: serves_grpc(port, MINT_SERVICE)) if module == "shipped" else (lambda: _listens(port))
    return parts.enter_context(
        background(
            [sys.executable, "-m", f"tests.bench.empty_rpc.{module}"],
            {"MINT_PORT": str(port)},
            folder,
            f"empty-rpc-{module}.log",
            ready,
        )
    )


def _listens(port: int) -> bool:
    return any(c.laddr.port == port for c in psutil.net_connections("tcp") if c.laddr and c.status == "LISTEN")
