"""What the protos say about HTTP: one `HttpRoute` for each google.api.http rule."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto

from gateway.settings import SERVICES
from vyris.gateway.v1 import http_policy_pb2
from vyris.http_rules import VARIABLE, bindings

DESCRIPTOR_SET: Final = Path(__file__).with_name("descriptors.binpb")

# Of all routes the one whose every failure has the same body, and which is never refused for what callers send.
HEALTH_PATH: Final = "/health"

# Packages that are answered by another service's process.
HOSTED_BY: Final = {"suite": "mint", "holds": "mint", "draw": "mint"}


class Unroutable(ValueError):
    """The protos say something that the gateway cannot carry."""


@dataclass(frozen=True)
class HttpRoute:
    """One method and path of the JSON listener."""

    rpc: str
    """`package.Service/Method`."""
    cluster: str
    http_method: str
    template: str
    """Path with variables in braces, each one segment long."""
    success_status: int
    status_from_service: bool
    query_parameters: tuple[str, ...]
    takes_body: bool
    shared: bool = False
    """Whether the answer may be kept for a moment, as it is everybody's."""

    @property
    def is_health(self) -> bool:
        """Whether it tells the suite's health."""
        return self.template == HEALTH_PATH


@dataclass(frozen=True)
class RpcService:
    """One gRPC service and the process that answers for it."""

    name: str
    """Full name, `vyris.mint.v1.MintService`."""
    cluster: str
    methods: tuple[str, ...]
    """Every method."""
    streams: tuple[str, ...]
    """Methods that answer with a stream."""


def load_descriptors(path: Path = DESCRIPTOR_SET) -> FileDescriptorSet:
    """Read a descriptor set as protoc writes it, without the comments."""
    descriptors = FileDescriptorSet.FromString(path.read_bytes())
    for file in descriptors.file:
        file.ClearField("source_code_info")
    return descriptors


def rpc_services(descriptors: FileDescriptorSet) -> list[RpcService]:
    """Every service of ours that the gateway routes, in the order of the files."""
    return [
        RpcService(
            name=f"{file.package}.{service.name}",
            cluster=_cluster_of(file.package),
            methods=tuple(method.name for method in service.method),
            streams=tuple(method.name for method in service.method if method.server_streaming),
        )
        for file in descriptors.file
        if file.package.startswith("vyris.")
        for service in file.service
        if not is_internal(service)
    ]


def http_routes(descriptors: FileDescriptorSet) -> list[HttpRoute]:
    """Every HTTP rule: exact paths first, then templates, the more literal ones before the others."""
    routes = [
        route
        for file in descriptors.file
        if file.package.startswith("vyris.")
        for service in file.service
        if not is_internal(service)
        for method in service.method
        for route in _routes_of(f"{file.package}.{service.name}", _cluster_of(file.package), method)
    ]
    seen: dict[tuple[str, str], str] = {}
    for route in routes:
        shape = (route.http_method, VARIABLE.sub("{}", route.template))
        if shape in seen:
            raise Unroutable(f"{route.rpc} and {seen[shape]} both claim {route.http_method} {route.template}")
        seen[shape] = route.rpc
    return sorted(routes, key=lambda route: route.template.count("{"))


def is_internal(service: ServiceDescriptorProto) -> bool:
    """Whether the gateway routes nobody to it, and no public page tells of it."""
    options: Any = service.options
    return bool(options.Extensions[http_policy_pb2.internal])


def _cluster_of(package: str) -> str:
    word = package.split(".")[1]
    cluster = HOSTED_BY.get(word, word)
    if cluster not in SERVICES:
        raise Unroutable(f"no process answers for package {package}")
    return cluster


def _routes_of(service: str, cluster: str, method: MethodDescriptorProto) -> Iterator[HttpRoute]:
    options: Any = method.options  # the stubs for google.api know no extensions
    rpc = f"{service}/{method.name}"
    try:
        found = bindings(options)
    except ValueError as problem:
        raise Unroutable(f"{rpc}: {problem}") from None
    policy = options.Extensions[http_policy_pb2.http_policy]
    if found and (method.client_streaming or method.server_streaming):
        raise Unroutable(f"{rpc}: the JSON listener carries no streams")
    for binding in found:
        yield HttpRoute(
            rpc=rpc,
            cluster=cluster,
            http_method=binding.http_method,
            template=_checked_template(rpc, binding.template),
            success_status=policy.success_status or 200,
            status_from_service=policy.status_from_service or policy.html,
            query_parameters=tuple(policy.query_parameters),
            takes_body=bool(binding.body),
            shared=policy.shared,
        )


def _checked_template(rpc: str, template: str) -> str:
    rest = VARIABLE.sub("x", template)
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", rest):
        raise Unroutable(f"{rpc}: path {template} is more than segments and one-segment variables")
    return template
