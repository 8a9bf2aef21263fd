"""The choice between both servers, `GRPC_SERVER`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, Protocol

from services.server.grpc_server.server import Server

Kind = Literal["core", "aio"]


class MakeServer(Protocol):
    """Makes the servers of a process."""

    def __call__(self, *, options: Sequence[tuple[str, Any]], calls_limit: int) -> Server:
        """`options`: gRPC core's channel arguments. `calls_limit`: the most calls at once."""


@contextmanager
def servers(kind: Kind) -> Iterator[MakeServer]:
    """Yield what makes servers of this kind in the running event loop. Stop all of them before the block ends.

    Only what was chosen is imported: `aio` works with a grpcio whose internal module has changed.
    """
    if kind == "aio":
        from services.server.grpc_server.aio import AioServer  # noqa: PLC0415

        yield AioServer
    else:
        from services.server.grpc_server.completions import Completions  # noqa: PLC0415
        from services.server.grpc_server.core_server import CoreServer  # noqa: PLC0415

        with Completions(asyncio.get_running_loop()) as completions:
            yield partial(CoreServer, completions)
