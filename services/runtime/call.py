"""One RPC as a service's method sees it: who calls, how long there is, what to say besides the answer."""

from __future__ import annotations

import time
from typing import Any, Final
from uuid import uuid4

import grpc

from vyris.errors import Retryable

# Envoy tells JSON callers' time here; gRPC callers bring a deadline of their own.
ENVOY_TIMEOUT_KEY: Final = "x-envoy-expected-rq-timeout-ms"
REQUEST_ID_KEY: Final = "x-request-id"
# An answer needs this long to travel; work that could only end later is not begun.
TRAVEL_S: Final = 0.05

Context = grpc.aio.ServicerContext[Any, Any]


class Call:
    """The circumstances of one RPC."""

    __slots__ = ("_context", "_metadata", "_until_s", "method")

    def __init__(self, context: Context, method: str, limit_s: float) -> None:
        """`method` is `/package.Service/Method`; `limit_s` the time where the caller sets no shorter one."""
        self._context = context
        self.method = method
        metadata = self._metadata = context.invocation_metadata() or ()
        remaining_s = context.time_remaining()
        if remaining_s is not None and remaining_s < limit_s:
            limit_s = remaining_s
        for key, value in metadata:
            if key == ENVOY_TIMEOUT_KEY and isinstance(value, str) and value.isdecimal():
                limit_s = min(limit_s, int(value) / 1000)
        self._until_s = time.monotonic() + limit_s - TRAVEL_S

    @property
    def remaining_s(self) -> float:
        """Seconds that are left for the work; raises Retryable where none are."""
        left = self._until_s - time.monotonic()
        if left <= 0:
            raise Retryable("There was no time left to serve this request", http_status=504)
        return left

    def metadata(self, key: str) -> str | None:
        """The first text value of a metadata key (an HTTP header through the gateway)."""
        return next((value for name, value in self._metadata if name == key and isinstance(value, str)), None)

    def metadata_values(self, key: str) -> list[str]:
        """All text values of a metadata key."""
        return [value for name, value in self._metadata if name == key and isinstance(value, str)]

    @property
    def request_id(self) -> str:
        """The gateway's id of this request, or a new one."""
        return (self.metadata(REQUEST_ID_KEY) or str(uuid4()))[:128]

    async def answer_headers(self, *headers: tuple[str, str]) -> None:
        """Send initial metadata. Only where nothing can fail afterwards: an error then loses its details."""
        await self._context.send_initial_metadata(headers)
