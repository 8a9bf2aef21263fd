"""gRPC core as grpcio binds it: the one place that names gRPC's own module."""

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

# What is done: `tag`, `success`, and the operations of a call (`batch_operations`) or the call itself (`call`,
# `call_details`, `invocation_metadata`).
Event = Any
Operation = Any
Tag = Callable[[Event], None]
