"""Encode and decode the errors of `vyris.errors` for gRPC.

For gRPC callers: `grpc-status-details-bin` with `google.rpc.ErrorInfo` and `google.rpc.RetryInfo`. For the gateway,
because its Lua scripts read no protobuf: the plain trailers `x-error-code`, `x-error-status`, `x-error-retryable`,
`retry-after`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from vyris.errors import ERRORS_BY_REASON, RateLimited, Retryable, VyrisError

DOMAIN: Final = "vyris.app"
DETAILS_KEY: Final = "grpc-status-details-bin"

TrailingMetadata = tuple[tuple[str, str | bytes], ...]


def trailing_metadata(error: VyrisError) -> TrailingMetadata:
    """The trailers of `error`, for gRPC callers and for the gateway."""
    return _trailers(
        error.reason, error.grpc_code.value[0], error.message, error.http_status, error.retryable, error.retry_after_s
    )


@lru_cache(maxsize=512)  # Messages are a few dozen fixed sentences, so many refusals share one result.
def _trailers(
    reason: str, grpc_code: int, message: str, http_status: int, retryable: bool, retry_after_s: int | None
) -> TrailingMetadata:
    retryable_text = "true" if retryable else "false"
    info = AnyMessage()
    info.Pack(ErrorInfo(reason=reason, domain=DOMAIN, metadata={"retryable": retryable_text}))
    details = [info]
    if retryable:
        retry = AnyMessage()
        retry.Pack(RetryInfo(retry_delay=Duration(seconds=retry_after_s or 0)))
        details.append(retry)
    status = Status(code=grpc_code, message=message, details=details)
    trailers: list[tuple[str, str | bytes]] = [
        ("x-error-code", reason),
        ("x-error-status", str(http_status)),
        ("x-error-retryable", retryable_text),
        (DETAILS_KEY, status.SerializeToString()),
    ]
    if retry_after_s is not None:
        trailers.append(("retry-after", str(retry_after_s)))
    return tuple(trailers)


def from_rpc_error(code: grpc.StatusCode, details: str, trailers: TrailingMetadata) -> VyrisError | None:
    """Decode the error of a failed call. Return None if the status comes from gRPC itself."""
    packed = next((value for key, value in trailers if key == DETAILS_KEY), None)
    if not isinstance(packed, bytes):
        return None
    status = Status.FromString(packed)
    info, retry = ErrorInfo(), RetryInfo()
    for detail in status.details:
        if detail.TypeName() == ErrorInfo.DESCRIPTOR.full_name:
            detail.Unpack(info)
        elif detail.TypeName() == RetryInfo.DESCRIPTOR.full_name:
            detail.Unpack(retry)
    kind = ERRORS_BY_REASON.get(info.reason)
    if kind is None or info.domain != DOMAIN or kind.grpc_code != code:
        return None
    retry_after_s = retry.retry_delay.seconds or None
    if kind is RateLimited:
        return RateLimited(details, retry_after_s=retry_after_s or 1)
    retryable = info.metadata["retryable"] == "true"
    http_status = 503 if kind is Retryable and retry_after_s else None
    return kind(details, retryable=retryable, http_status=http_status, retry_after_s=retry_after_s)
