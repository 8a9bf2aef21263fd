"""What a caller is told where a call failed, and what only the log is."""

from __future__ import annotations

from typing import Any, Final

import grpc
import structlog

from services.storage.database import DatabaseFailed
from vyris.errors import Retryable, VyrisError

REQUEST_ID_KEY: Final = "x-request-id"

Context = grpc.aio.ServicerContext[Any, Any]
log = structlog.get_logger(__name__)


def refusal_of(error: Exception, method: str, context: Context) -> VyrisError:
    """The error of the contract that tells `error`, which ended a call of `method` (`/package.Service/Method`)."""
    if isinstance(error, DatabaseFailed):
        log.warning("database_failed", rpc=method, request_id=_request_id(context), cause=error.cause)
        return Retryable()
    if isinstance(error, VyrisError):
        return error
    log.error("unexpected_failure", rpc=method, request_id=_request_id(context), exc_info=error)
    return Retryable()


def _request_id(context: Context) -> str | None:
    return next((str(value) for key, value in context.invocation_metadata() or () if key == REQUEST_ID_KEY), None)
