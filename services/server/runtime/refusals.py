"""The error that a caller gets for a failed call, and the details that only the log gets."""

from __future__ import annotations

from typing import Final

import structlog

from services.server.failures import LoggedFailure
from services.server.grpc_server.rpc import Rpc
from vyris.errors import Retryable, VyrisError

REQUEST_ID_KEY: Final = "x-request-id"

log = structlog.get_logger(__name__)


def refusal_of(error: Exception, method: str, rpc: Rpc) -> VyrisError:
    """Log `error`, which ended a call of `method` (`/package.Service/Method`). Return the contract's error for it."""
    if isinstance(error, LoggedFailure):
        log.warning(error.event, rpc=method, request_id=_request_id(rpc), cause=error.cause)
        return Retryable()
    if isinstance(error, VyrisError):
        return error
    log.error("unexpected_failure", rpc=method, request_id=_request_id(rpc), exc_info=error)
    return Retryable()


def _request_id(rpc: Rpc) -> str | None:
    return next((str(value) for key, value in rpc.invocation_metadata() if key == REQUEST_ID_KEY), None)
