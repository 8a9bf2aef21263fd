"""Build Envoy's whole configuration."""

from __future__ import annotations

from typing import Any

from envoy.config.bootstrap.v3.bootstrap_pb2 import Admin, Bootstrap
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.overload.v3.overload_pb2 import (
    OverloadAction,
    OverloadManager,
    ResourceMonitor,
    ThresholdTrigger,
    Trigger,
)
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.resource_monitors.downstream_connections.v3.downstream_connections_pb2 import (
    DownstreamConnectionsConfig,
)
from envoy.extensions.resource_monitors.fixed_heap.v3.fixed_heap_pb2 import FixedHeapConfig
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.json_format import MessageToJson

from gateway import bounds, filters, local_replies, route_tables
from gateway.clusters import all_clusters
from gateway.listeners import GRPC_HEADERS, OWN_HEADERS, edge_connection_manager, listener, statistics_listener
from gateway.messages import pack, seconds, socket_address
from gateway.routes import RpcService, http_routes, rpc_services
from gateway.settings import GatewaySettings
from gateway.static_pages import load_pages


def _overload_action(name: str, resource: str, threshold: float) -> Any:
    trigger = Trigger(name=resource, threshold=ThresholdTrigger(value=threshold))
    return OverloadAction(name=f"envoy.overload_actions.{name}", triggers=[trigger])


def _overload_manager(settings: GatewaySettings) -> Any:
    heap = "envoy.resource_monitors.fixed_heap"
    connections = "envoy.resource_monitors.global_downstream_max_connections"
    return OverloadManager(
        refresh_interval=seconds(0.25),
        resource_monitors=[
            ResourceMonitor(
                name=heap, typed_config=pack(FixedHeapConfig(max_heap_size_bytes=settings.gateway_max_heap_bytes))
            ),
            ResourceMonitor(
                name=connections,
                typed_config=pack(
                    DownstreamConnectionsConfig(max_active_downstream_connections=settings.gateway_max_connections)
                ),
            ),
        ],
        actions=[
            _overload_action("shrink_heap", heap, 0.90),
            _overload_action("disable_http_keepalive", heap, 0.92),
            _overload_action("stop_accepting_requests", heap, 0.95),
            _overload_action("stop_accepting_connections", heap, 0.98),
        ],
    )


def _json_listener(settings: GatewaySettings, descriptors: FileDescriptorSet) -> Any:
    routes = http_routes(descriptors)
    scripts = route_tables.json_scripts(routes)
    manager = edge_connection_manager(
        settings,
        name="json",
        routes=route_tables.json_routes(settings, routes, load_pages(settings.gateway_static_dir)),
        http_filters=filters.json_filters(settings, descriptors, scripts),
        local_replies=local_replies.json_replies(settings),
        forbidden_headers=[*OWN_HEADERS, *GRPC_HEADERS],
        codec=HttpConnectionManager.AUTO,
    )
    return listener(settings, name="json", port=settings.gateway_port, manager=manager, protocols=["h2", "http/1.1"])


def _grpc_listener(settings: GatewaySettings, services: list[RpcService]) -> Any:
    manager = edge_connection_manager(
        settings,
        name="grpc",
        routes=route_tables.grpc_routes(settings, services),
        http_filters=filters.grpc_filters(settings),
        local_replies=local_replies.grpc_replies(),
        forbidden_headers=OWN_HEADERS,
        codec=HttpConnectionManager.HTTP2,
    )
    return listener(settings, name="grpc", port=settings.gateway_grpc_port, manager=manager, protocols=["h2"])


def bootstrap(settings: GatewaySettings, descriptors: FileDescriptorSet) -> Any:
    """Envoy's Bootstrap message for these settings and protos."""
    services = rpc_services(descriptors)
    listeners = [_json_listener(settings, descriptors), _grpc_listener(settings, services)]
    if settings.gateway_metrics_port is not None:
        listeners.append(statistics_listener(settings, settings.gateway_metrics_port, route_tables.statistics_routes()))
    return Bootstrap(
        node=Node(id="vyris-gateway", cluster="vyris-gateway"),
        admin=Admin(address=socket_address("127.0.0.1", settings.envoy_admin_port)),
        static_resources=Bootstrap.StaticResources(listeners=listeners, clusters=all_clusters(settings)),
        overload_manager=_overload_manager(settings),
        layered_runtime=bounds.door_connections(settings),
    )


def as_json(message: Any) -> str:
    """A configuration message in the form that Envoy reads."""
    return MessageToJson(message, preserving_proto_field_name=True, indent=1) + "\n"
