"""Access log, traces and statistics of the requests: never with a path, a query string or a token.

A path may identify a person or a phone (`/v1/devices/{device_library_id}/…`), and a path without a route may resemble
one with a route. So a request is named by its route, which is a constant of the configuration.
"""

from __future__ import annotations

from typing import Any, Final

from envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLog,
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    OrFilter,
    ResponseFlagFilter,
    RuntimeFilter,
    StatusCodeFilter,
)
from envoy.config.core.v3.base_pb2 import RuntimeUInt32
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.trace.v3.http_tracer_pb2 import Tracing
from envoy.config.trace.v3.opentelemetry_pb2 import OpenTelemetryConfig
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.type.tracing.v3.custom_tag_pb2 import CustomTag
from envoy.type.v3.percent_pb2 import FractionalPercent, Percent
from google.protobuf.struct_pb2 import Struct

from gateway.clusters import COLLECTOR_CLUSTER
from gateway.messages import pack, seconds
from gateway.settings import AccessLogChoice, GatewaySettings

ACCESS_LOG_FIELDS: Final = {
    "time": "%START_TIME%",
    "method": "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD):16%",
    "route": "%ROUTE_NAME%",
    "status": "%RESPONSE_CODE%",
    "error": "%DYNAMIC_METADATA(vyris:error)%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "duration_ms": "%DURATION%",
    "service_ms": "%COMMON_DURATION(US_TX_BEG:US_RX_BEG:ms)%",
    "received_bytes": "%BYTES_RECEIVED%",
    "sent_bytes": "%BYTES_SENT%",
    "protocol": "%PROTOCOL%",
    "service": "%UPSTREAM_CLUSTER%",
    "endpoint": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "caller": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "request_id": "%REQ(X-REQUEST-ID):128%",
    "trace_id": "%TRACE_ID%",
}

FIRST_FAILURE: Final = 500
# Of shed requests (503) only the sample is logged: in overload a line for each would cost a quarter of the throughput.
# All are counted, in `envoy_cluster_upstream_rq_pending_overflow` and `envoy_cluster_upstream_rq_503`.
SHED: Final = 503
SAMPLE: Final = FractionalPercent(numerator=1, denominator=FractionalPercent.HUNDRED)
# A 503 for one of these reasons is not shed: no healthy service, no connection, a broken connection, no answer in time.
TROUBLE_FLAGS: Final = ("UH", "UF", "UC", "UR", "URX", "LR", "NC", "UT")

# Envoy's own tags `http.url` and `grpc.path` would contain the path. A tag without a value does not replace one, and a
# request may have no route.
TAGS: Final = (
    CustomTag(tag="http.route", value="%ROUTE_NAME%"),
    CustomTag(tag="http.url", value="%REQ(:SCHEME)%://%REQ(:AUTHORITY)%"),
    CustomTag(tag="grpc.path", literal=CustomTag.Literal(value="see http.route")),
)


def access_logs(settings: GatewaySettings) -> list[Any]:
    """One JSON line for each accepted request that GATEWAY_ACCESS_LOG names, and for some of the shed ones."""
    path = settings.gateway_access_log_path
    if path in {"", "-"}:
        return []
    fields = Struct()
    fields.update(ACCESS_LOG_FIELDS)
    log = FileAccessLog(path=path, log_format=SubstitutionFormatString(json_format=fields, omit_empty_values=True))
    written = _written(settings.gateway_access_log)
    return [AccessLog(name="envoy.access_loggers.file", typed_config=pack(log), filter=written)]


def _written(which: AccessLogChoice) -> Any:
    answered = [_status(ComparisonFilter.NE, SHED, "shed")]
    if which != "all":
        answered.append(_status(ComparisonFilter.GE, FIRST_FAILURE, "failures"))
    any_of = [
        _all_of(answered),
        AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=TROUBLE_FLAGS)),
    ]
    if which != "errors":
        any_of.append(
            AccessLogFilter(
                runtime_filter=RuntimeFilter(
                    runtime_key="vyris.access_log.sample", percent_sampled=SAMPLE, use_independent_randomness=True
                )
            )
        )
    return AccessLogFilter(or_filter=OrFilter(filters=any_of))


def _all_of(filters: list[Any]) -> Any:
    return filters[0] if len(filters) == 1 else AccessLogFilter(and_filter=AndFilter(filters=filters))


def _status(operator: Any, status: int, name: str) -> Any:
    value = RuntimeUInt32(default_value=status, runtime_key=f"vyris.access_log.{name}")
    return AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=ComparisonFilter(op=operator, value=value)))


def tracing(settings: GatewaySettings) -> Any | None:
    """OpenTelemetry spans over OTLP; None without a collector."""
    if settings.otlp_collector is None:
        return None
    config = OpenTelemetryConfig(
        service_name="vyris-gateway",
        grpc_service=GrpcService(envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=COLLECTOR_CLUSTER), timeout=seconds(5)),
    )
    percent = Percent(value=settings.gateway_trace_percent)
    return HttpConnectionManager.Tracing(
        random_sampling=percent,
        # A caller cannot force a trace.
        client_sampling=Percent(value=0),
        overall_sampling=Percent(value=100),
        custom_tags=TAGS,
        provider=Tracing.Http(name="envoy.tracers.opentelemetry", typed_config=pack(config)),
    )
