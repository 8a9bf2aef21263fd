"""What a caller and the log are told when Postgres fails: never a value that was in the statement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from services.storage.database import DatabaseUnavailable, DataRejected
from vyris.errors import Retryable

log = structlog.get_logger(__name__)


@contextmanager
def postgres_failures_are_retryable(call: str) -> Iterator[None]:
    """Turn a failure of the database into Retryable. `call` names the method in the log."""
    try:
        yield
    except (DatabaseUnavailable, DataRejected) as problem:
        log.warning("database_failed", call=call, problem=str(problem))
        raise Retryable() from None
