"""gRPC core through grpcio's internal module. Only this file names that module."""

from collections.abc import Callable
from typing import Any

from grpc._cython.cygrpc import (  # type: ignore[import-not-found]
    CompletionQueue,
    CompletionType,
    ReceiveCloseOnServerOperation,
    ReceiveMessageOperation,
    SendInitialMetadataOperation,
    SendMessageOperation,
    SendStatusFromServerOperation,
    Server,
    auth_context,
)

__all__ = [
    "CompletionQueue",
    "CompletionType",
    "Event",
    "Operation",
    "ReceiveCloseOnServerOperation",
    "ReceiveMessageOperation",
    "SendInitialMetadataOperation",
    "SendMessageOperation",
    "SendStatusFromServerOperation",
    "Server",
    "Tag",
    "auth_context",
]

# A completed operation: `tag`, `success`, and a call's operations (`batch_operations`) or the new call (`call`,
# `call_details`, `invocation_metadata`).
Event = Any
Operation = Any
Tag = Callable[[Event], None]
