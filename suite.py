"""The suite as data: its processes, where each listens, and the gRPC services that each answers.

The gateway's clusters and routes, the local stack's processes, `GET /health`, the settings and the tests of the
manifests follow from `SUITE`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from google.protobuf.descriptor import ServiceDescriptor
from pydantic import BaseModel, Field, create_model

from vyris.draw.v1 import draw_pb2
from vyris.encounter.v1 import encounter_pb2
from vyris.holds.v1 import holds_pb2
from vyris.mint.v1 import mint_pb2
from vyris.reforge.v1 import operator_pb2, reforge_pb2
from vyris.suite.v1 import suite_pb2
from vyris.wallet.v1 import wallet_pb2

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Service:
    """One process, `python -m services.<name>`."""

    name: str
    port: int
    """Default of `<NAME>_PORT`."""
    descriptor: ServiceDescriptor
    """The gRPC service that is named after the process, and whose health speaks for it."""
    also: tuple[ServiceDescriptor, ...] = ()
    """Further gRPC services that the process answers."""

    @property
    def full_name(self) -> str:
        """As gRPC health knows it, `vyris.wallet.v1.WalletService`."""
        return str(self.descriptor.full_name)

    @property
    def descriptors(self) -> tuple[ServiceDescriptor, ...]:
        """All gRPC services that the process answers."""
        return (self.descriptor, *self.also)


SUITE: Final = (
    Service(
        "mint",
        port=50051,
        descriptor=mint_pb2.DESCRIPTOR.services_by_name["MintService"],
        also=(
            holds_pb2.DESCRIPTOR.services_by_name["HoldService"],
            draw_pb2.DESCRIPTOR.services_by_name["DrawService"],
            suite_pb2.DESCRIPTOR.services_by_name["SuiteService"],
        ),
    ),
    Service(
        "encounter",
        port=50052,
        descriptor=encounter_pb2.DESCRIPTOR.services_by_name["EncounterService"],
    ),
    Service("wallet", port=50053, descriptor=wallet_pb2.DESCRIPTOR.services_by_name["WalletService"]),
    Service(
        "reforge",
        port=50054,
        descriptor=reforge_pb2.DESCRIPTOR.services_by_name["ReforgeService"],
        also=(operator_pb2.DESCRIPTOR.services_by_name["OperatorService"],),
    ),
)
NAMES: Final = tuple(service.name for service in SUITE)
PROCESS_OF_PACKAGE: Final = {
    descriptor.file.package: service.name for service in SUITE for descriptor in service.descriptors
}
"""`vyris.holds.v1` to `mint`: which process answers for a package."""


def peers_of(name: str) -> tuple[Service, ...]:
    """Every service but this one."""
    return tuple(service for service in SUITE if service.name != name)


def port_field(name: str) -> Any:
    """The setting `<NAME>_PORT` of one service, for its own settings class."""
    (port,) = (service.port for service in SUITE if service.name == name)
    return Field(port, ge=1, le=65_535, description=f"gRPC port of the {name} service")


def address_of(settings: BaseModel, name: str) -> str:
    """Where a service listens, `host:port[,host:port…]`, by settings with ports and addresses."""
    return str(getattr(settings, f"{name}_address") or f"127.0.0.1:{getattr(settings, f'{name}_port')}")


def with_ports(services: tuple[Service, ...] = SUITE) -> Callable[[type[M]], type[M]]:
    """Give a settings class `<name>_port` for each service."""
    return _with_fields({f"{service.name}_port": (int, port_field(service.name)) for service in services})


def with_addresses(services: tuple[Service, ...] = SUITE, *, form: Any = str) -> Callable[[type[M]], type[M]]:
    """Give a settings class `<name>_port` and `<name>_address`, of type `form`, for each service."""
    fields: dict[str, Any] = {}
    for name in (service.name for service in services):
        meaning = (
            f"host:port of the {name} service, several divided by commas; a DNS name means all of its addresses; "
            f"empty: 127.0.0.1:{name.upper()}_PORT"
        )
        fields[f"{name}_port"] = (int, port_field(name))
        fields[f"{name}_address"] = (form, Field("", description=meaning))
    return _with_fields(fields)


def with_replicas(settings_class: type[M]) -> type[M]:
    """Give a settings class `<name>_replicas` for each service."""
    fields = {}
    for service in SUITE:
        meaning = f"{service.name} processes on the local stack; the second and later ones listen on free ports"
        fields[f"{service.name}_replicas"] = (int, Field(1, ge=1, le=16, description=meaning))
    return _with_fields(fields)(settings_class)


def _with_fields(fields: dict[str, Any]) -> Callable[[type[M]], type[M]]:
    def add(settings_class: type[M]) -> type[M]:
        extended: type[M] = create_model(
            settings_class.__name__,
            __base__=settings_class,
            __module__=settings_class.__module__,
            __doc__=settings_class.__doc__,
            **fields,
        )
        return extended

    return add
