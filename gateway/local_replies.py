"""Replace the bodies of Envoy's own errors by the contract's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLogFilter,
    ComparisonFilter,
    ExtensionFilter,
    ResponseFlagFilter,
    StatusCodeFilter,
)
from envoy.config.core.v3.base_pb2 import DataSource, RuntimeUInt32
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    LocalReplyConfig,
    ResponseMapper,
)
from google.protobuf.struct_pb2 import Struct

from gateway import cors
from gateway.messages import number, pack, replaced_header
from gateway.routes import HEALTH_PATH
from gateway.settings import GatewaySettings
from vyris.errors import InvalidRequest, NotFound, RateLimited, Retryable, VyrisError


@dataclass(frozen=True)
class LocalReply:
    """The replacement for one kind of Envoy's own errors."""

    when: str
    """CEL over Envoy's attributes."""
    error: VyrisError
    grpc_status: str = ""
    """The gRPC status for native callers; empty: Envoy's choice for the HTTP status."""


REPLIES: Final = (
    LocalReply("response.code == 404 || response.code_details == 'path_normalization_failed'", NotFound()),
    LocalReply("response.code == 413", InvalidRequest.too_large(), grpc_status="3"),
    LocalReply("response.code == 429", RateLimited()),
    # The caller sent its request too slowly, or the service did not answer in time.
    LocalReply(
        "response.code == 408 || response.code == 504",
        Retryable("The request took too long; send the same request again", http_status=504),
        grpc_status="14",
    ),
    # All other refusals by Envoy: JSON that the transcoder refuses, bad headers or framing.
    LocalReply(
        "(response.code >= 400 && response.code < 500) || response.code == 501",
        InvalidRequest(),
    ),
    LocalReply("response.code == 502 || response.code == 503", Retryable.unreachable()),
    LocalReply("response.code >= 500", Retryable()),
)

# A service has too many requests in flight: in overload this is the most frequent answer, and it must cost least. So it
# is matched first and by a flag; the others are matched by expressions, eight in the worst case.
OVERFLOW_FLAG: Final = "UO"
OVERFLOW: Final = Retryable.shed()

# GET /health has its own body for every failure. The transcoder keeps the path under another name.
UNHEALTHY_WHEN: Final = (
    "response.code >= 500 && request.method == 'GET' && "
    f"(request.url_path == '{HEALTH_PATH}' || "
    f"('x-envoy-original-path' in request.headers && request.headers['x-envoy-original-path'] == '{HEALTH_PATH}'))"
)

# Native gRPC at the JSON door. Envoy answers such a caller in gRPC's own form. (The content type does not help here:
# after the transcoder, every request is gRPC.)
NATIVE_ROUTE: Final = "grpc"
NATIVE_ELSEWHERE: Final = "This port speaks JSON; native gRPC has a port of its own"


def _filter(expression: str) -> Any:
    return AccessLogFilter(
        extension_filter=ExtensionFilter(
            name="envoy.access_loggers.extension_filters.cel",
            typed_config=pack(ExpressionFilter(expression=expression)),
        )
    )


def _json_body(fields: dict[str, str | bool]) -> Any:
    body = Struct()
    body.update(fields)
    return SubstitutionFormatString(json_format=body, content_type="application/json")


def _overflow_filter() -> Any:
    return AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=[OVERFLOW_FLAG]))


def _is_no_error() -> Any:
    highest = RuntimeUInt32(default_value=399, runtime_key="vyris.local_replies.unchanged")
    return AccessLogFilter(
        status_code_filter=StatusCodeFilter(comparison=ComparisonFilter(op=ComparisonFilter.LE, value=highest))
    )


def _json_mapper(when: Any, error: VyrisError, cors_headers: list[Any]) -> Any:
    headers = [*cors_headers]
    headers += [] if error.retry_after_s is None else [replaced_header("retry-after", str(error.retry_after_s))]
    body: dict[str, str | bool] = {"error": error.reason, "message": error.message, "retryable": error.retryable}
    return ResponseMapper(
        filter=when,
        status_code=number(error.http_status),
        body_format_override=_json_body(body),
        headers_to_add=headers,
    )


def json_replies(settings: GatewaySettings) -> Any:
    """For the JSON listener: the error with three keys, and for `/health` its own body."""
    pages_may_read = cors.answer_headers(settings)
    unhealthy = ResponseMapper(
        filter=_filter(UNHEALTHY_WHEN),
        status_code=number(503),
        body_format_override=_json_body({"status": "unhealthy"}),
        headers_to_add=pages_may_read,
    )
    native = ResponseMapper(
        filter=_filter(f"response.code >= 400 && xds.route_name == '{NATIVE_ROUTE}'"),
        body=DataSource(inline_string=NATIVE_ELSEWHERE),
        headers_to_add=pages_may_read,
    )
    # If this mapper comes first, the script of `/health` corrects its answer.
    overflow = _json_mapper(_overflow_filter(), OVERFLOW, pages_may_read)
    others = [_json_mapper(_filter(reply.when), reply.error, pages_may_read) for reply in REPLIES]
    # Leave pages and the gateway's cached answers (lua/shared.lua) unchanged. They are the most frequent answers, so
    # this mapper comes before the expressions, each of which costs some microseconds.
    unchanged = ResponseMapper(filter=_is_no_error())
    return LocalReplyConfig(mappers=[overflow, unchanged, native, unhealthy, *others])


def grpc_replies() -> Any:
    """For the native listener: plain sentences, which become `grpc-message`."""
    overflow = ResponseMapper(filter=_overflow_filter(), body=DataSource(inline_string=OVERFLOW.message))
    return LocalReplyConfig(mappers=[overflow, *map(_native_mapper, REPLIES)])


def _native_mapper(reply: LocalReply) -> Any:
    status = [replaced_header("grpc-status", reply.grpc_status)] if reply.grpc_status else []
    return ResponseMapper(
        filter=_filter(reply.when), body=DataSource(inline_string=reply.error.message), headers_to_add=status
    )
