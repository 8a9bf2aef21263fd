"""The doors for callers, JSON and native gRPC, and the listener of the statistics."""

from __future__ import annotations

from typing import Any

from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation
from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.core.v3.protocol_pb2 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    KeepaliveSettings,
)
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.listener.proxy_protocol.v3.proxy_protocol_pb2 import ProxyProtocol
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
    RequestIDExtension,
)
from envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation as EarlyHeaderMutation,
)
from envoy.extensions.request_id.uuid.v3.uuid_pb2 import UuidRequestIdConfig
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from gateway import bounds, observability
from gateway.messages import flag, number, pack, seconds, socket_address
from gateway.settings import GatewaySettings
from gateway.tls import listener_tls

CONNECTION_BUFFER_BYTES = 32 * 1024
ACCEPTED_AT_ONCE = 4

# Header names that HTTP allows and gRPC does not (`a|b`): a gRPC server answers such a call with an internal error.
# Pseudo-headers begin with a colon.
UNSPEAKABLE_HEADERS = StringMatcher(
    safe_regex=RegexMatcher(regex=r"[^:0-9a-z._-].*|[^:].*[^0-9a-z._-].*"),
)
# Headers that only the gateway may set, and those that gRPC cannot send.
OWN_HEADERS = [StringMatcher(prefix="x-envoy-"), StringMatcher(prefix="x-vyris-"), UNSPEAKABLE_HEADERS]
# Headers that a JSON caller must not send to a gRPC server: its deadline, its encodings, binary metadata (a value that
# is not base64 ends the call with an internal error).
GRPC_HEADERS = [StringMatcher(prefix="grpc-"), StringMatcher(suffix="-bin")]


def _http1() -> Any:
    return Http1ProtocolOptions(
        # nginx speaks HTTP/1.0 to a backend by default, and `ab` does. HTTP/1.0 needs no Host header.
        accept_http_10=True,
        default_host_for_http_10="vyris",
        # A server may ignore an offer to switch protocols (RFC 9110 section 7.8). By default Envoy refuses such a
        # request. Apache HttpClient offers TLS/1.2 with every plain request.
        ignore_http_11_upgrade=[StringMatcher(safe_regex=RegexMatcher(regex=".*"))],
    )


def _http2() -> Any:
    return Http2ProtocolOptions(
        max_concurrent_streams=number(128),
        initial_stream_window_size=number(64 << 10),
        initial_connection_window_size=number(1 << 20),
        override_stream_error_on_invalid_http_message=flag(True),
        connection_keepalive=KeepaliveSettings(
            interval=seconds(bounds.PING_INTERVAL_S), timeout=seconds(bounds.PING_TIMEOUT_S)
        ),
    )


def _without_headers(matchers: list[Any]) -> Any:
    """Remove request headers before any filter reads them."""
    mutations = [HeaderMutation(remove_on_match=HeaderMutation.RemoveOnMatch(key_matcher=item)) for item in matchers]
    return TypedExtensionConfig(
        name="envoy.http.early_header_mutation.header_mutation",
        typed_config=pack(EarlyHeaderMutation(mutations=mutations)),
    )


def edge_connection_manager(
    settings: GatewaySettings,
    *,
    name: str,
    routes: Any,
    http_filters: list[Any],
    local_replies: Any,
    forbidden_headers: list[Any],
    codec: int,
) -> Any:
    """The common settings of both doors for callers: those of an edge proxy."""
    return HttpConnectionManager(
        stat_prefix=name,
        codec_type=codec,
        route_config=routes,
        http_filters=http_filters,
        local_reply_config=local_replies,
        access_log=observability.access_logs(settings),
        tracing=observability.tracing(settings),
        server_name="vyris",
        server_header_transformation=HttpConnectionManager.OVERWRITE,
        # The caller's address. No caller counts as internal, so x-envoy-* headers cannot control the gateway.
        use_remote_address=flag(True),
        xff_num_trusted_hops=settings.gateway_trusted_hops,
        internal_address_config=HttpConnectionManager.InternalAddressConfig(
            unix_sockets=False, cidr_ranges=[CidrRange(address_prefix="255.255.255.255", prefix_len=number(32))]
        ),
        early_header_mutation_extensions=[_without_headers(forbidden_headers)],
        # A caller may set the request id; every answer has one.
        generate_request_id=flag(True),
        preserve_external_request_id=True,
        always_set_request_id_in_response=True,
        request_id_extension=RequestIDExtension(
            typed_config=pack(
                UuidRequestIdConfig(pack_trace_reason=flag(False), use_request_id_for_trace_sampling=flag(False))
            )
        ),
        # Each path has one meaning.
        normalize_path=flag(True),
        merge_slashes=True,
        path_with_escaped_slashes_action=HttpConnectionManager.REJECT_REQUEST,
        strip_any_host_port=False,
        # Limits.
        max_request_headers_kb=number(24),
        common_http_protocol_options=HttpProtocolOptions(
            idle_timeout=seconds(bounds.idle_timeout_s(settings)),
            max_headers_count=number(64),
            headers_with_underscores_action=HttpProtocolOptions.REJECT_REQUEST,
        ),
        http_protocol_options=_http1(),
        http2_protocol_options=_http2(),
        request_headers_timeout=seconds(bounds.HEADERS_TIMEOUT_S),
        # Until a request is complete. It does not limit a stream of answers.
        request_timeout=seconds(settings.gateway_request_timeout_s),
        stream_idle_timeout=seconds(settings.gateway_request_timeout_s + 5),
        drain_timeout=seconds(1),
        delayed_close_timeout=seconds(1),
    )


def _listener_filters(settings: GatewaySettings) -> list[Any]:
    """Read the caller's address from the PROXY protocol, before the limits of addresses and before TLS."""
    if not settings.gateway_proxy_protocol:
        return []
    return [ListenerFilter(name="envoy.filters.listener.proxy_protocol", typed_config=pack(ProxyProtocol()))]


def listener(settings: GatewaySettings, *, name: str, port: int, manager: Any, protocols: list[str]) -> Any:
    """A door for callers, with TLS if it is configured."""
    chain = FilterChain(
        filters=[
            *bounds.network_filters(settings, name),
            Filter(name="envoy.filters.network.http_connection_manager", typed_config=pack(manager)),
        ],
        transport_socket_connect_timeout=seconds(bounds.HANDSHAKE_TIMEOUT_S),
    )
    tls = listener_tls(settings, protocols)
    if tls is not None:
        chain.transport_socket.CopyFrom(TransportSocket(name="envoy.transport_sockets.tls", typed_config=pack(tls)))
    return Listener(
        name=name,
        address=socket_address(settings.gateway_listen_host, port),
        per_connection_buffer_limit_bytes=number(CONNECTION_BUFFER_BYTES),
        listener_filters=_listener_filters(settings),
        listener_filters_timeout=seconds(bounds.HANDSHAKE_TIMEOUT_S),
        filter_chains=[chain],
        tcp_backlog_size=number(1024),
        # By default Envoy accepts all that wait before it serves anybody: thousands that come at once cost the others a
        # tenth of a second.
        max_connections_to_accept_per_socket_event=number(ACCEPTED_AT_ONCE),
    )


def statistics_listener(settings: GatewaySettings, port: int, routes: RouteConfiguration) -> Any:
    """Prometheus statistics. Not counted among the callers' connections, so that overload stays visible."""
    manager = HttpConnectionManager(
        stat_prefix="statistics",
        route_config=routes,
        http_filters=[HttpFilter(name="envoy.filters.http.router", typed_config=pack(Router()))],
        normalize_path=flag(True),
        max_request_headers_kb=number(8),
        stream_idle_timeout=seconds(30),
        request_timeout=seconds(10),
    )
    return Listener(
        name="statistics",
        address=socket_address(settings.gateway_metrics_host, port),
        per_connection_buffer_limit_bytes=number(1 << 20),
        filter_chains=[
            FilterChain(
                filters=[Filter(name="envoy.filters.network.http_connection_manager", typed_config=pack(manager))]
            )
        ],
        ignore_global_conn_limit=True,
    )
