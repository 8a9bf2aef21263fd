"""The limits of one caller, one address and one door: connections, streams, places and time.

A request takes a place at a service only once it is complete. A slow or silent caller is disconnected within seconds.
One address can have only a small share of the connections and of the streams.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from envoy.config.bootstrap.v3.bootstrap_pb2 import LayeredRuntime, RuntimeLayer
from envoy.config.core.v3.base_pb2 import AsyncDataSource, DataSource
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.route.v3.route_components_pb2 import FilterConfig
from envoy.extensions.filters.http.buffer.v3.buffer_pb2 import Buffer
from envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm as HttpWasm
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.extensions.filters.network.wasm.v3.wasm_pb2 import Wasm as NetworkWasm
from envoy.extensions.wasm.v3.wasm_pb2 import FAIL_RELOAD, PluginConfig, VmConfig
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import StringValue

from gateway.messages import number, pack
from gateway.settings import GatewaySettings

HEADERS_TIMEOUT_S: Final = 5
"""From the first byte of a request's headers to the last."""
HANDSHAKE_TIMEOUT_S: Final = 5
IDLE_TIMEOUT_S: Final = 15
"""A connection without requests, before its first one and between them."""
IDLE_BEHIND_PROXY_S: Final = 300
"""The same behind a load balancer.

It keeps connections for later callers, and must close them before the gateway does.
"""
PING_INTERVAL_S: Final = 20
PING_TIMEOUT_S: Final = 10
"""If an HTTP/2 connection does not answer a ping for so long, it is closed."""

NATIVE_CONNECTIONS_SHARE: Final = 0.25
"""The native door's share of the connections, because native callers put many calls on one.

The JSON door has the rest.
"""
NATIVE_BODY_LIMIT_BYTES: Final = 256 * 1024 + 16
"""A service's limit (`grpc.max_receive_message_length`) and its frame, so that the service itself refuses more."""

STREAMS: Final = "vyris.streams_of_address"
_STREAMS_ROOT: Final = "streams"
BUFFER: Final = "envoy.filters.http.buffer"
_CONNECTIONS: Final = "vyris.connections_of_address"
_CONNECTIONS_ROOTS: Final = {"json": "json", "grpc": "native"}
_MODULE: Final = Path(__file__).with_name("wasm") / "address_limits.wasm"


def _plugin(name: str, root: str, limit: int) -> Any:
    """Configure one root context of the module. All of them share one virtual machine in each worker.

    The first letter of `root` selects what the module counts.
    """
    code = AsyncDataSource(local=DataSource(inline_bytes=_MODULE.read_bytes()))
    return PluginConfig(
        name=name,
        root_id=root,
        vm_config=VmConfig(vm_id="address_limits", runtime="envoy.wasm.runtime.v8", code=code),
        configuration=pack(StringValue(value=str(limit))),
        failure_policy=FAIL_RELOAD,
    )


def _shares(connections: int) -> dict[str, int]:
    """Divide `connections` among the doors. Return each door's number by the listener's name."""
    native = max(1, round(connections * NATIVE_CONNECTIONS_SHARE))
    return {"json": max(1, connections - native), "grpc": native}


def network_filters(settings: GatewaySettings, door: str) -> list[Any]:
    """The network filter of the listener `door` that limits the connections of one address.

    Empty behind a load balancer, because all connections come from its addresses.
    """
    if settings.gateway_trusted_hops > 0:
        return []
    limit = _shares(settings.gateway_address_max_connections)[door]
    plugin = _plugin(f"{_CONNECTIONS}.{door}", _CONNECTIONS_ROOTS[door], limit)
    return [Filter(name=_CONNECTIONS, typed_config=pack(NetworkWasm(config=plugin)))]


def native_filters(settings: GatewaySettings) -> list[Any]:
    """The native door's filters before routing.

    They limit the streams of one address (routes of streams switch this on), and buffer a request until it is complete.
    """
    streams = HttpWasm(config=_plugin(STREAMS, _STREAMS_ROOT, settings.gateway_address_max_streams))
    whole = Buffer(max_request_bytes=number(NATIVE_BODY_LIMIT_BYTES))
    return [
        HttpFilter(name=STREAMS, typed_config=pack(streams), disabled=True),
        HttpFilter(name=BUFFER, typed_config=pack(whole)),
    ]


def counted_stream() -> dict[str, Any]:
    """Route configuration: count this stream for its caller's address."""
    # The filter has no route configuration, so mark it as optional for Envoy.
    return {STREAMS: pack(FilterConfig(config=pack(HttpWasm()), is_optional=True))}


def idle_timeout_s(settings: GatewaySettings) -> float:
    """How long a caller's connection may be idle."""
    return IDLE_BEHIND_PROXY_S if settings.gateway_trusted_hops > 0 else IDLE_TIMEOUT_S


def door_connections(settings: GatewaySettings) -> Any:
    """Envoy's runtime layer: the most connections of each door. Their sum is `GATEWAY_MAX_CONNECTIONS`."""
    layer = Struct()
    for door, limit in _shares(settings.gateway_max_connections).items():
        layer.update({f"envoy.resource_limits.listener.{door}.connection_limit": limit})
    return LayeredRuntime(layers=[RuntimeLayer(name="doors", static_layer=layer)])
