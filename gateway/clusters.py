"""Envoy's clusters: the services' addresses, health checks and limits."""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster, UpstreamConnectionOptions
from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection
from envoy.config.core.v3.address_pb2 import TcpKeepalive
from envoy.config.core.v3.base_pb2 import HIGH, TransportSocket
from envoy.config.core.v3.health_check_pb2 import HealthCheck
from envoy.config.core.v3.protocol_pb2 import Http2ProtocolOptions, HttpProtocolOptions, KeepaliveSettings
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint as EndpointMessage
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.clusters.common.dns.v3.dns_pb2 import V4_PREFERRED as DNS_V4_PREFERRED
from envoy.extensions.clusters.dns.v3.dns_cluster_pb2 import DnsCluster
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions as UpstreamHttpOptions
from envoy.type.v3.percent_pb2 import Percent

from gateway.messages import flag, number, pack, seconds, socket_address
from gateway.settings import Endpoint, GatewaySettings
from gateway.tls import upstream_tls
from suite import SUITE

HEALTH_REQUESTS_LIMIT = 64
# Most Health/Watch streams at one service. The sum of all limits is 4,096, the limit of one process of a service.
HEALTH_STREAMS_LIMIT = 384
ADMIN_CLUSTER = "envoy_admin"
COLLECTOR_CLUSTER = "otlp_collector"

HTTP2_EXTENSION = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def _assignment(name: str, endpoints: list[Endpoint]) -> Any:
    hosts = [
        LbEndpoint(endpoint=EndpointMessage(address=socket_address(item.host, item.port), hostname=item.host))
        for item in endpoints
    ]
    return ClusterLoadAssignment(cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=hosts)])


def _discover(cluster: Any, endpoints: list[Endpoint]) -> None:
    """Use addresses directly. Resolve a name every few seconds, with each of its addresses as an endpoint."""
    if all(item.is_ip for item in endpoints):
        cluster.type = Cluster.STATIC
        return
    dns = DnsCluster(dns_refresh_rate=seconds(5), dns_lookup_family=DNS_V4_PREFERRED)
    cluster.cluster_type.CopyFrom(Cluster.CustomClusterType(name="envoy.cluster.dns", typed_config=pack(dns)))


def _http2() -> Any:
    """Explicit HTTP/2. One connection per worker and endpoint carries all streams."""
    return UpstreamHttpOptions(
        explicit_http_config=UpstreamHttpOptions.ExplicitHttpConfig(
            http2_protocol_options=Http2ProtocolOptions(
                max_concurrent_streams=number(1024),
                initial_stream_window_size=number(1 << 20),
                initial_connection_window_size=number(8 << 20),
                # Services allow a ping every ten seconds.
                connection_keepalive=KeepaliveSettings(interval=seconds(30), timeout=seconds(5)),
            )
        ),
        common_http_protocol_options=HttpProtocolOptions(idle_timeout=seconds(3600)),
    )


def _health_check(health_service: str) -> Any:
    # All intervals are equal: without traffic Envoy would check again only after a minute.
    every = seconds(1)
    return HealthCheck(
        timeout=seconds(2),
        interval=every,
        no_traffic_interval=every,
        no_traffic_healthy_interval=every,
        unhealthy_interval=every,
        unhealthy_edge_interval=every,
        healthy_edge_interval=every,
        unhealthy_threshold=number(3),
        healthy_threshold=number(1),
        grpc_health_check=HealthCheck.GrpcHealthCheck(service_name=health_service),
    )


def _circuit_breakers(max_requests: int, max_health_requests: int) -> Any:
    return CircuitBreakers(
        thresholds=[
            CircuitBreakers.Thresholds(
                max_connections=number(256),
                max_pending_requests=number(max_requests),
                max_requests=number(max_requests),
                retry_budget=CircuitBreakers.Thresholds.RetryBudget(
                    budget_percent=Percent(value=20), min_retry_concurrency=number(8)
                ),
            ),
            # Health has its own places at every door: GET /health, Health/Check, Health/Watch.
            CircuitBreakers.Thresholds(priority=HIGH, max_requests=number(max_health_requests)),
        ]
    )


def _outlier_detection() -> Any:
    """Eject an endpoint that does not accept connections.

    A service's answers never eject it, and the last one stays.
    """
    return OutlierDetection(
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=number(5),
        enforcing_consecutive_local_origin_failure=number(100),
        enforcing_consecutive_5xx=number(0),
        enforcing_consecutive_gateway_failure=number(0),
        enforcing_success_rate=number(0),
        enforcing_local_origin_success_rate=number(0),
        enforcing_failure_percentage=number(0),
        interval=seconds(1),
        base_ejection_time=seconds(2),
        max_ejection_time=seconds(10),
        max_ejection_percent=number(50),
        always_eject_one_host=flag(False),
    )


def streams_cluster_name(service: str) -> str:
    """The cluster of a service's streams."""
    return f"{service}_streams"


def service_cluster(settings: GatewaySettings, service: str, health_service: str) -> Any:
    """The replicas of one service. `health_service`: the full service name for health checks."""
    return _cluster(settings, service, service, health_service, settings.gateway_max_requests)


def native_cluster_name(service: str) -> str:
    """The name of the cluster for calls through the native door."""
    return f"{service}_native"


def native_cluster(settings: GatewaySettings, service: str, health_service: str) -> Any:
    """The same replicas for native calls, so that one door's calls take no room from the other's."""
    return _cluster(settings, native_cluster_name(service), service, health_service, settings.gateway_max_requests)


def streams_cluster(settings: GatewaySettings, service: str, health_service: str) -> Any:
    """The same replicas for streams. They stay open, so they have their own limit and take no room from calls."""
    return _cluster(
        settings,
        streams_cluster_name(service),
        service,
        health_service,
        settings.gateway_max_streams,
        HEALTH_STREAMS_LIMIT,
    )


def _cluster(
    settings: GatewaySettings,
    name: str,
    service: str,
    health_service: str,
    max_requests: int,
    max_health_requests: int = HEALTH_REQUESTS_LIMIT,
) -> Any:
    endpoints = settings.endpoints(service)
    tls = upstream_tls(settings, service)
    cluster = Cluster(
        name=name,
        connect_timeout=seconds(1),
        per_connection_buffer_limit_bytes=number(1 << 20),
        lb_policy=Cluster.LEAST_REQUEST,
        load_assignment=_assignment(name, endpoints),
        typed_extension_protocol_options={HTTP2_EXTENSION: pack(_http2())},
        health_checks=[_health_check(health_service)],
        circuit_breakers=_circuit_breakers(max_requests, max_health_requests),
        outlier_detection=_outlier_detection(),
        # Without a healthy replica, call any: the service itself gives the best error.
        common_lb_config=Cluster.CommonLbConfig(healthy_panic_threshold=Percent(value=1)),
        upstream_connection_options=UpstreamConnectionOptions(
            tcp_keepalive=TcpKeepalive(
                keepalive_probes=number(3), keepalive_time=number(15), keepalive_interval=number(5)
            )
        ),
        ignore_health_on_host_removal=True,
    )
    _discover(cluster, endpoints)
    if tls is not None:
        cluster.transport_socket.CopyFrom(TransportSocket(name="envoy.transport_sockets.tls", typed_config=pack(tls)))
    return cluster


def admin_cluster(settings: GatewaySettings) -> Any:
    """Envoy's own admin interface, for the statistics listener."""
    return Cluster(
        name=ADMIN_CLUSTER,
        type=Cluster.STATIC,
        connect_timeout=seconds(1),
        load_assignment=_assignment(ADMIN_CLUSTER, [Endpoint("127.0.0.1", settings.envoy_admin_port)]),
    )


def collector_cluster(collector: Endpoint) -> Any:
    """The trace collector."""
    cluster = Cluster(
        name=COLLECTOR_CLUSTER,
        connect_timeout=seconds(1),
        load_assignment=_assignment(COLLECTOR_CLUSTER, [collector]),
        typed_extension_protocol_options={HTTP2_EXTENSION: pack(_http2())},
    )
    _discover(cluster, [collector])
    return cluster


def all_clusters(settings: GatewaySettings) -> list[Any]:
    """The clusters of the four services, and those that the settings add."""
    clusters = [service_cluster(settings, service.name, service.full_name) for service in SUITE]
    clusters += [native_cluster(settings, service.name, service.full_name) for service in SUITE]
    clusters += [streams_cluster(settings, service.name, service.full_name) for service in SUITE]
    if settings.gateway_metrics_port is not None:
        clusters.append(admin_cluster(settings))
    if settings.otlp_collector is not None:
        clusters.append(collector_cluster(settings.otlp_collector))
    return clusters
