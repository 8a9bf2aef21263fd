"""The process graph of the local stack, as data: what runs, with what settings, in what order."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.command_line import envoy_arguments
from stack import mail, postgres, valkey
from stack.ports import PortTaker
from stack.probes import answers_http, serves_grpc
from stack.processes import ProcessSpec, Tier
from stack.settings import StackSettings
from stack.state import StateFolder
from suite import NAMES, SUITE, Service

# Environment variables that a process needs besides its own settings.
SYSTEM_VARIABLES = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "LD_LIBRARY_PATH")
# Here the gateway shares the cores with the services. A worker on every core would take the services'
# time, and each worker's connection to a service would carry smaller batches (mint at 64 connections, two cores:
# 2,220/s with two workers, 2,769/s with one).
GATEWAY_WORKERS = str(max(1, (os.cpu_count() or 2) // 2))


@dataclass(frozen=True)
class Graph:
    """The processes in their order of starting, and the environment of the steps between them."""

    specs: tuple[ProcessSpec, ...]
    service_environment: Mapping[str, str]
    gateway_environment: Mapping[str, str]

    def tier(self, tier: Tier) -> list[ProcessSpec]:
        """The processes of one tier."""
        return [spec for spec in self.specs if spec.tier is tier]

    def listens(self) -> dict[str, int | str]:
        """The addresses of all processes, by name."""
        return {name: value for spec in self.specs for name, value in spec.listens.items()}


@dataclass(frozen=True)
class ServiceAddress:
    """One service process and the ports it gets."""

    service: Service
    name: str
    port: int
    metrics_port: int


def build(settings: StackSettings, environment: Mapping[str, str], state: StateFolder, only: set[str] | None) -> Graph:
    """Build the graph for these settings; `only` keeps the processes of these names.

    `environment`: the services' environment besides the resolved settings. Raises StackRefused.
    """
    ports = PortTaker(set(settings.fixed_ports().values()))
    system = {name: environment[name] for name in SYSTEM_VARIABLES if name in environment}
    storage = [spec for spec in _storage(settings, state, system, ports) if only is None or spec.name in only]
    addresses = _addresses(settings, ports)
    service_environment = {
        **environment,
        "DATABASE_URL": settings.database_url or postgres.database_url(state),
        "REDIS_URL": settings.redis_url or valkey.redis_url(state),
        "SMTP_URL": settings.smtp_url or _listening(storage, "smtp_url"),
        "VYRIS_ENV": settings.vyris_env,
        "VYRIS_STATE_DIR": str(state.root),
        **{name: str(port) for name, port in settings.fixed_ports().items()},
        **_address_lists(addresses),
        "PYTHONUNBUFFERED": "1",
    }
    gateway, gateway_environment = _gateway(settings, service_environment, state, system, ports)
    specs = [*storage, *(_service(address, service_environment) for address in addresses), gateway]
    return Graph(
        tuple(spec for spec in specs if only is None or spec.name in only), service_environment, gateway_environment
    )


def _storage(
    settings: StackSettings, state: StateFolder, system: dict[str, str], ports: PortTaker
) -> list[ProcessSpec]:
    specs = []
    if not settings.database_url:
        specs.append(postgres.specification(state, system))
    if not settings.redis_url:
        specs.append(valkey.specification(state, system))
    if not settings.smtp_url and settings.vyris_env == "development":
        specs.append(mail.specification(state, {**system, "PYTHONUNBUFFERED": "1"}, ports.free_port()))
    return specs


def _addresses(settings: StackSettings, ports: PortTaker) -> list[ServiceAddress]:
    """All replicas of all services: the first at the known port, the others at free ports."""
    addresses = []
    for service in SUITE:
        known = settings.fixed_ports()[f"{service.name.upper()}_PORT"]
        addresses.append(ServiceAddress(service, service.name, known, ports.free_port()))
        addresses += [
            ServiceAddress(service, f"{service.name}-{number}", ports.free_port(), ports.free_port())
            for number in range(2, settings.replicas(service.name) + 1)
        ]
    return addresses


def _address_lists(addresses: list[ServiceAddress]) -> dict[str, str]:
    """`MINT_ADDRESS=127.0.0.1:50051,127.0.0.1:23456` and so on, for the callers of services."""
    return {
        f"{name.upper()}_ADDRESS": ",".join(f"127.0.0.1:{a.port}" for a in addresses if a.service.name == name)
        for name in NAMES
    }


def _service(address: ServiceAddress, environment: Mapping[str, str]) -> ProcessSpec:
    return ProcessSpec(
        name=address.name,
        tier=Tier.SERVICES,
        argv=(sys.executable, "-m", f"services.{address.service.name}"),
        environment={
            **environment,
            f"{address.service.name.upper()}_PORT": str(address.port),
            "METRICS_PORT": str(address.metrics_port),
        },
        is_ready=lambda: serves_grpc(address.port, address.service.full_name),
        listens={address.name: address.port, f"{address.name}_metrics": address.metrics_port},
        stop_limit_s=15,
    )


def _gateway(
    settings: StackSettings,
    service_environment: Mapping[str, str],
    state: StateFolder,
    system: dict[str, str],
    ports: PortTaker,
) -> tuple[ProcessSpec, dict[str, str]]:
    admin_port, metrics_port = ports.free_port(), ports.free_port()
    generator = {**service_environment, "ENVOY_ADMIN_PORT": str(admin_port), "GATEWAY_METRICS_PORT": str(metrics_port)}
    spec = ProcessSpec(
        name="gateway",
        tier=Tier.GATEWAY,
        argv=tuple(
            envoy_arguments(
                state.gateway_configuration,
                concurrency=service_environment.get("GATEWAY_CONCURRENCY", GATEWAY_WORKERS),
            )
        ),
        environment=system,
        is_ready=lambda: answers_http(settings.gateway_port, "/health"),
        listens={
            "gateway": settings.gateway_port,
            "gateway_grpc": settings.gateway_grpc_port,
            "envoy_admin": admin_port,
            "gateway_metrics": metrics_port,
        },
        stop_limit_s=10,
    )
    return spec, generator


def _listening(specs: list[ProcessSpec], name: str) -> str:
    return next((str(spec.listens[name]) for spec in specs if name in spec.listens), "")
