"""gRPC core as grpcio binds it: the one place that names gRPC's own module."""

from collections.abc import Callable
from typing import Any

from grpc._cython import cygrpc  # type: ignore[attr-defined]

__all__ = [
    "CompletionQueue",
    "Event",
    "Operation",
    "ReceiveCloseOnServerOperation",
    "ReceiveMessageOperation",
    "SendInitialMetadataOperation",
    "SendMessageOperation",
    "SendStatusFromServerOperation",
    "Server",
    "Tag",
]

CompletionQueue = cygrpc.CompletionQueue
Server = cygrpc.Server
ReceiveCloseOnServerOperation = cygrpc.ReceiveCloseOnServerOperation
ReceiveMessageOperation = cygrpc.ReceiveMessageOperation
SendInitialMetadataOperation = cygrpc.SendInitialMetadataOperation
SendMessageOperation = cygrpc.SendMessageOperation
SendStatusFromServerOperation = cygrpc.SendStatusFromServerOperation

# What is done: `tag`, `success`, and the operations of a call (`batch_operations`) or the call itself (`call`,
# `call_details`, `invocation_metadata`).
Event = Any
Operation = Any
Tag = Callable[[Event], None]
