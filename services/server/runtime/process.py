"""A service process from start to stop.

Start: settings, logs, metrics, the server, then readiness checks.
Stop (SIGTERM or SIGINT): report not ready, wait until the gateway notices, answer the calls in flight, close
everything.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NoReturn, TypeVar

import structlog
import uvloop
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE_NAME
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from services.server import failpoints, tracing
from services.server.grpc_server.choice import MakeServer, servers
from services.server.grpc_server.server import Server
from services.server.production import refuse_development
from services.server.runtime import logs, metrics
from services.server.runtime.background import Loop, running
from services.server.runtime.boundary import Authenticate, Endpoint, method_handlers, service_names
from services.server.runtime.settings import EXIT_CONFIGURATION, EXIT_PORT_TAKEN, ServiceSettings, WrongSetting
from services.server.runtime.tls import Certificates, certificates, require_client_names

log = structlog.get_logger(__name__)

S = TypeVar("S", bound=ServiceSettings)
READINESS_INTERVAL_S = 1.0
PROBES_LIMIT = 64
MESSAGE_LIMIT_BYTES = 256 * 1024
METADATA_LIMIT_BYTES = 32 * 1024
PING_INTERVAL_MS = 10_000


@dataclass(frozen=True)
class Hosted:
    """A process's endpoints, and the check whether it can serve them now."""

    endpoints: Sequence[Endpoint]
    ready: Callable[[], Awaitable[bool]]
    # Services of other processes that reflection also describes, because the gateway asks one process for all.
    described: Sequence[ServiceDescriptor] = ()
    authenticate: Authenticate | None = None
    # Run from before the first call until after the last one.
    background: Sequence[Loop] = ()


Build = Callable[[S], AbstractAsyncContextManager[Hosted]]


def run(name: str, settings: S, port: int, build: Build[S]) -> None:
    """Serve what `build(settings)` yields on `port` until SIGTERM or SIGINT."""
    logs.configure(settings.log_level, name)
    try:
        refuse_development(settings)
        failpoints.switch_on(settings.failpoints_file)
        end_traces = tracing.switch_on(settings.otel_exporter_otlp_endpoint, name)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(name, settings, port, build))
        end_traces()
    except WrongSetting as problem:
        sys.stderr.write(f"{name} cannot start: {problem}\n")
        raise SystemExit(EXIT_CONFIGURATION) from None


async def _serve(name: str, settings: S, port: int, build: Build[S]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        metrics.serve(settings.listen_host, settings.metrics_port)
    except OSError:
        _exit_port_taken(name, _address(settings, settings.metrics_port))
    with servers(settings.grpc_server) as make_server:
        async with build(settings) as hosted, running(hosted.background):
            health_servicer = HealthServicer()
            server = _server(make_server, settings, hosted, health_servicer)
            probes = _probes(make_server, health_servicer)
            _listen(server, _address(settings, port), name, certificates(settings))
            if settings.health_port:
                _listen(probes, _address(settings, settings.health_port), name, None)
            await server.start()
            await probes.start()
            try:
                log.info(
                    "serving",
                    address=_address(settings, port),
                    services=service_names(hosted.endpoints),
                    grpc_server=settings.grpc_server,
                )
                await _serve_until(stop, settings, hosted, health_servicer)
            finally:
                await server.stop(settings.drain_limit_ms / 1000)
                await probes.stop(0)
    log.info("stopped")


async def _serve_until(stop: asyncio.Event, settings: S, hosted: Hosted, health_servicer: HealthServicer) -> None:
    """Report readiness to health until `stop`; then report not ready for `DRAIN_DELAY_MS`."""
    _spare_collector()
    # The empty name says that the process is alive.
    await health_servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    readiness = _Readiness(hosted, health_servicer)
    async with running([Loop("readiness", run=readiness.look, every_s=READINESS_INTERVAL_S)]):
        await stop.wait()
    await _announce(hosted, health_servicer, ready=False)
    await asyncio.sleep(settings.drain_delay_ms / 1000)


def _spare_collector() -> None:
    """Keep objects that live as long as the process out of garbage collection.

    Modules and descriptors are hundreds of thousands of objects. A full collection that visits them stops all calls for
    tens of milliseconds.
    """
    gc.collect()
    gc.freeze()


def server_options(calls_limit: int, *, ping_interval_ms: int = PING_INTERVAL_MS) -> list[tuple[str, int]]:
    """Channel arguments of a service's port. gRPC ignores unknown names.

    `ping_interval_ms`: the least time between two pings of a silent connection. The third ping that comes too soon ends
    the connection.
    """
    return [
        # A port in use is an error, not a second listener.
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", calls_limit),
        # Limits of the calls that wait for the event loop. Between its own limits, a thousand and three thousand, gRPC
        # refuses calls at random, without our error.
        ("grpc.server.max_pending_requests", calls_limit),
        ("grpc.server.max_pending_requests_hard_limit", calls_limit),
        ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
        ("grpc.max_metadata_size", METADATA_LIMIT_BYTES),
        # The gateway and our client send pings more often than the default five minutes allow.
        ("grpc.http2.min_ping_interval_without_data_ms", ping_interval_ms),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _server(
    make_server: MakeServer, settings: ServiceSettings, hosted: Hosted, health_servicer: HealthServicer
) -> Server:
    server = make_server(
        options=server_options(settings.concurrent_calls_limit),
        calls_limit=settings.concurrent_calls_limit,
    )
    for endpoint in hosted.endpoints:
        server.add_registered_method_handlers(
            endpoint.descriptor.full_name,
            method_handlers(
                endpoint,
                limit_s=settings.call_limit_ms / 1000,
                authenticate=require_client_names(settings, hosted.authenticate),
            ),
        )
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)  # type: ignore[no-untyped-call]
    if not settings.production:
        described = (service.full_name for service in hosted.described)
        names = (*service_names(hosted.endpoints), *described, HEALTH_SERVICE_NAME, reflection.SERVICE_NAME)
        reflector = reflection.aio.ReflectionServicer(names)  # type: ignore[no-untyped-call]
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflector, server)  # type: ignore[no-untyped-call]
    return server


def _probes(make_server: MakeServer, health_servicer: HealthServicer) -> Server:
    """A server for health only, in plain text, for probes without TLS."""
    server = make_server(options=[("grpc.so_reuseport", 0)], calls_limit=PROBES_LIMIT)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)  # type: ignore[no-untyped-call]
    return server


def _address(settings: ServiceSettings, port: int) -> str:
    """The address in gRPC core's form, with an IPv6 address in brackets."""
    host = settings.listen_host
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _listen(server: Server, address: str, name: str, certificates: Certificates | None) -> None:
    try:
        if certificates is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, certificates.server_credentials())
    except RuntimeError:
        _exit_port_taken(name, address)


def _exit_port_taken(name: str, address: str) -> NoReturn:
    sys.stderr.write(f"{name} cannot listen on {address}: the port is taken, or the address is not this machine's\n")
    raise SystemExit(EXIT_PORT_TAKEN) from None


class _Readiness:
    """Reports to health whether the process can serve."""

    def __init__(self, hosted: Hosted, health_servicer: HealthServicer) -> None:
        self._hosted = hosted
        self._health_servicer = health_servicer
        self._was_ready: bool | None = None

    async def look(self) -> None:
        """Check readiness once, and report a change. Raises nothing: the next check must follow."""
        ready = await self._is_ready()
        if ready != self._was_ready:
            log.info("readiness", ready=ready)
            await _announce(self._hosted, self._health_servicer, ready=ready)
            self._was_ready = ready

    async def _is_ready(self) -> bool:
        try:
            return await asyncio.wait_for(self._hosted.ready(), READINESS_INTERVAL_S)
        except TimeoutError:
            return False
        except Exception:
            # Only this check failed. Health must go on with the next.
            log.exception("readiness_unknown")
            return False


async def _announce(hosted: Hosted, health_servicer: HealthServicer, *, ready: bool) -> None:
    response = health_pb2.HealthCheckResponse
    for service in service_names(hosted.endpoints):
        await health_servicer.set(service, response.SERVING if ready else response.NOT_SERVING)
