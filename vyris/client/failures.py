"""Turn a failed call into an error of `vyris.errors`."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import Any, Final, Protocol

import grpc
from google.protobuf.message import DecodeError

from vyris.error_wire import from_rpc_error
from vyris.errors import ERRORS_BY_BARE_CODE, InvalidRequest, NotFound, RateLimited, Retryable, VyrisError

_TOO_LARGE: Final = "larger than max"


class FailedCall(Protocol):
    """The methods of a failed call: `grpc.RpcError` (if it is a call) and `grpc.aio.AioRpcError`."""

    def code(self) -> grpc.StatusCode:
        """The status."""

    def details(self) -> str | None:
        """The status's message."""

    def trailing_metadata(self) -> Iterable[Any] | None:
        """The trailers."""


def to_vyris_error(failure: FailedCall, request_id: str) -> VyrisError:
    """Make the error for `failure`, with the call's id in the servers' logs."""
    error = _from_details(failure) or _from_code(failure.code(), failure.details() or "")
    error.request_id = request_id
    return error


def _from_details(failure: FailedCall) -> VyrisError | None:
    trailers = tuple((key, value) for key, value in failure.trailing_metadata() or ())
    try:
        return from_rpc_error(failure.code(), failure.details() or "", trailers)
    except DecodeError:
        return None


def _from_code(code: grpc.StatusCode, details: str) -> VyrisError:
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return NotFound("This address serves no such call (the local stack listens for clients at localhost:3001)")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        # gRPC itself refuses a message above its own limit, before a service reads it.
        return InvalidRequest.too_large() if _TOO_LARGE in details else RateLimited()
    # Copy it, because the caller may change the error (add notes, a traceback).
    return copy(ERRORS_BY_BARE_CODE.get(code, Retryable()))
