"""Real grpc.aio servers for our protos, which behave as each test says, and a real Envoy in front."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from gateway.bootstrap import as_json, bootstrap
from gateway.command_line import envoy_arguments
from gateway.routes import load_descriptors
from gateway.settings import GatewaySettings
from gateway.tls import secret_file, secrets
from suite import NAMES
from tests.ports import free_port
from vyris.encounter.v1 import encounter_pb2 as encounter
from vyris.error_wire import trailing_metadata
from vyris.errors import VyrisError
from vyris.mint.v1 import mint_pb2 as mint
from vyris.reforge.v1 import reforge_pb2 as reforge
from vyris.suite.v1 import suite_pb2 as suite
from vyris.wallet.v1 import wallet_pb2 as wallet

Behaviour = Callable[[Any, Any], Awaitable[Any]]

MINTED = mint.MintResponse(
    status="FULFILLED", membership=mint.Membership(id="m", tier="genesis", year="2025", sequence_num=7, pass_serial="s")
)
RPCS: dict[str, tuple[str, type, Any]] = {
    "/vyris.mint.v1.MintService/Mint": ("mint", mint.MintRequest, MINTED),
    "/vyris.mint.v1.MintService/GetDrop": (
        "mint",
        mint.GetDropRequest,
        mint.GetDropResponse(tier="genesis", year="2025", capacity=999, remaining=999, state="OPEN"),
    ),
    "/vyris.suite.v1.SuiteService/GetHealth": (
        "mint",
        suite.GetHealthRequest,
        HttpBody(content_type="application/json", data=b'{"status":"ok"}'),
    ),
    "/vyris.encounter.v1.EncounterService/VerifyEncounter": (
        "encounter",
        encounter.VerifyEncounterRequest,
        encounter.VerifyEncounterResponse(status="VERIFIED"),
    ),
    "/vyris.encounter.v1.EncounterService/ListEncounters": (
        "encounter",
        encounter.ListEncountersRequest,
        encounter.ListEncountersResponse(),
    ),
    "/vyris.wallet.v1.WalletService/IssuePass": (
        "wallet",
        wallet.IssuePassRequest,
        HttpBody(content_type="application/vnd.apple.pkpass", data=b"PK\x03\x04\x00\xff"),
    ),
    "/vyris.reforge.v1.ReforgeService/InitReforge": (
        "reforge",
        reforge.InitReforgeRequest,
        reforge.InitReforgeResponse(status="PENDING"),
    ),
    "/vyris.reforge.v1.ReforgeService/ConfirmReforge": (
        "reforge",
        reforge.ConfirmReforgeRequest,
        reforge.ConfirmReforgeResponse(status="CONFIRMED"),
    ),
    "/vyris.reforge.v1.ReforgeService/ChangeEmail": (
        "reforge",
        reforge.ChangeEmailRequest,
        reforge.ChangeEmailResponse(status="PENDING"),
    ),
}


@dataclass
class Call:
    """One call as a service received it."""

    rpc: str
    request: Any
    metadata: dict[str, str]
    remaining_s: float


@dataclass
class Services:
    """The behaviour of the four servers (by RPC; by default they succeed), and the calls that they received."""

    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    health: dict[str, health.aio.HealthServicer] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    servers: dict[str, grpc.aio.Server] = field(default_factory=dict)

    def on(self, method: str, behaviour: Behaviour) -> None:
        """Set the behaviour of every RPC whose path ends with `method`."""
        self.behaviours[method] = behaviour

    def reset(self) -> None:
        """Reset every RPC to success."""
        self.behaviours.clear()
        self.calls.clear()

    async def answer(self, rpc: str, default: Any, request: Any, context: Any) -> Any:
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        self.calls.append(Call(rpc, request, metadata, context.time_remaining()))
        behaviour = self.behaviours.get(rpc.rpartition("/")[2])
        return default if behaviour is None else await behaviour(request, context)


def raising(error: VyrisError) -> Behaviour:
    """Fail as the services' own code does."""

    async def behave(request: Any, context: Any) -> Any:
        context.set_trailing_metadata(trailing_metadata(error))
        await context.abort(error.grpc_code, error.message)

    return behave


def aborting(code: grpc.StatusCode, details: str = "inside 10.1.2.3:5432") -> Behaviour:
    """Fail with a bare gRPC status."""

    async def behave(request: Any, context: Any) -> Any:
        await context.abort(code, details)

    return behave


def answering(response: Any, *metadata: tuple[str, str]) -> Behaviour:
    """Succeed, with initial metadata."""

    async def behave(request: Any, context: Any) -> Any:
        if metadata:
            await context.send_initial_metadata(metadata)
        return response

    return behave


def sleeping(seconds: float) -> Behaviour:
    """Answer too late."""

    async def behave(request: Any, context: Any) -> Any:
        await asyncio.sleep(seconds)

    return behave


def _handler(services: Services, path: str, request_type: Any, default: Any) -> Any:
    async def unary(request: Any, context: Any) -> Any:
        return await services.answer(path, default, request, context)

    return grpc.unary_unary_rpc_method_handler(
        unary,
        request_deserializer=request_type.FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )


def _watch_handler() -> Any:
    async def watch(request: Any, context: Any) -> AsyncIterator[Any]:
        for minted in range(3):
            yield mint.WatchDropResponse(drop=mint.GetDropResponse(tier=request.tier, minted=minted))
            await asyncio.sleep(0.05)

    return grpc.unary_stream_rpc_method_handler(
        watch,
        request_deserializer=mint.WatchDropRequest.FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )


def _register(server: Any, services: Services, name: str, rpcs: dict[str, tuple[str, type, Any]]) -> None:
    grouped: dict[str, dict[str, Any]] = {}
    for path, (owner, request_type, default) in rpcs.items():
        if owner == name:
            service, method = path.strip("/").split("/")
            grouped.setdefault(service, {})[method] = _handler(services, path, request_type, default)
    if name == "mint":
        grouped["vyris.mint.v1.MintService"]["WatchDrop"] = _watch_handler()
    for service, handlers in grouped.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))


async def start_service(
    services: Services,
    name: str,
    rpcs: dict[str, tuple[str, type, Any]] = RPCS,
    port: int = 0,
    credentials: grpc.ServerCredentials | None = None,
) -> None:
    """Serve `name` on `port` (0: a free one), with health."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    _register(server, services, name, rpcs)
    servicer = health.aio.HealthServicer()
    for full_name in ["", *{path.strip("/").split("/")[0] for path, rpc in rpcs.items() if rpc[0] == name}]:
        await servicer.set(full_name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    address = f"127.0.0.1:{port}"
    bound = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    services.servers[name], services.ports[name], services.health[name] = server, bound, servicer


@contextlib.asynccontextmanager
async def running_services(
    rpcs: dict[str, tuple[str, type, Any]] = RPCS, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[Services]:
    """All four servers."""
    services = Services()
    for name in NAMES:
        await start_service(services, name, rpcs, credentials=credentials)
    try:
        yield services
    finally:
        await asyncio.gather(*(server.stop(0) for server in services.servers.values()))


@dataclass
class Gateway:
    """A running Envoy."""

    settings: GatewaySettings
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        scheme = "https" if self.settings.gateway_tls_cert_file else "http"
        return f"{scheme}://127.0.0.1:{self.settings.gateway_port}"

    @property
    def grpc_target(self) -> str:
        return f"127.0.0.1:{self.settings.gateway_grpc_port}"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.settings.envoy_admin_port}"

    @property
    def access_log(self) -> Path:
        return self.folder / "access.log"


def make_settings(folder: Path, services: Services, **more: Any) -> GatewaySettings:
    """Settings with free ports, towards `services`."""
    values: dict[str, Any] = {
        "gateway_port": free_port(),
        "gateway_grpc_port": free_port(),
        "gateway_metrics_port": free_port(),
        "envoy_admin_port": free_port(),
        "gateway_access_log_path": str(folder / "access.log"),
        "gateway_concurrency": 1,
        "gateway_request_timeout_s": 1.5,
        "gateway_secrets_dir": folder,
        **{f"{name}_address": f"127.0.0.1:{port}" for name, port in services.ports.items()},
    }
    return GatewaySettings(_env_file=None, **{**values, **more})


@contextlib.asynccontextmanager
async def running_gateway(
    folder: Path,
    settings: GatewaySettings,
    descriptors: FileDescriptorSet | None = None,
    wait_for: Sequence[str] = NAMES,
) -> AsyncIterator[Gateway]:
    """Envoy with the generated configuration, once the services of `wait_for` are seen healthy."""
    configuration = folder / "envoy.json"
    for name, content in secrets(settings).items():
        secret_file(settings.gateway_secrets_dir, name).write_text(as_json(content))
    configuration.write_text(as_json(bootstrap(settings, descriptors or load_descriptors())))
    log = (folder / "envoy.log").open("wb")
    command = envoy_arguments(configuration, concurrency=settings.gateway_concurrency)
    process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: ASYNC220
    gateway = Gateway(settings, folder, process)
    try:
        await _ready(gateway, wait_for)
        yield gateway
    finally:
        process.terminate()
        process.wait(timeout=10)
        log.close()


async def _ready(gateway: Gateway, wait_for: Sequence[str]) -> None:
    async with httpx.AsyncClient(base_url=gateway.admin, timeout=2) as admin:
        for _ in range(150):
            if gateway.process.poll() is not None:
                raise RuntimeError((gateway.folder / "envoy.log").read_text())
            with contextlib.suppress(httpx.HTTPError):
                statistics = (await admin.get("/stats?filter=membership_healthy")).text
                counts = dict(line.split(": ") for line in statistics.splitlines())
                healthy = all(counts.get(f"cluster.{name}.membership_healthy", "0") != "0" for name in wait_for)
                # It listens after it has checked every service, also those that do not run.
                if healthy and (await admin.get("/ready")).status_code == 200:
                    return
            await asyncio.sleep(0.1)
    raise RuntimeError("Envoy did not see every service healthy: " + (gateway.folder / "envoy.log").read_text())


async def raw_exchange(port: int, request: bytes, timeout_s: float = 5, *, ends: bool = False) -> bytes:
    """Send bytes unchanged, and read until the other side closes or stops sending.

    `ends`: close our direction after the first whole answer. Otherwise Envoy waits a second before it closes.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        writer.write(request)
        await writer.drain()
        async with asyncio.timeout(timeout_s):
            while chunk := await reader.read(65536):
                received += chunk
                if ends and _is_whole(received):
                    writer.write_eof()
    writer.close()
    return received


def _is_whole(answer: bytes) -> bool:
    """Whether all bytes of its `content-length` are there."""
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head)
    return length is not None and len(body) >= int(length[1])
