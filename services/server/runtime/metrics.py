"""Prometheus metrics of every service, and their HTTP endpoint."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from services.server import tracing

M = TypeVar("M", Counter, Gauge, Histogram)

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def by_labels(metric: M) -> Callable[..., M]:
    """Cache `metric.labels`, because the library's own takes a lock and builds a key at every call."""
    return lru_cache(maxsize=1024)(metric.labels)


class TracedHistogram(Histogram):
    """A histogram with a trace as exemplar in each bucket, for scrapers of OpenMetrics."""

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Count `amount`. The exemplar is the current trace, unless another is given."""
        super().observe(amount, exemplar or tracing.exemplar())


RPC_SECONDS = by_labels(
    TracedHistogram(
        "vyris_rpc_seconds", "Time of a call inside the process", ["method", "outcome"], buckets=LATENCY_BUCKETS_S
    )
)


def serve(host: str, port: int) -> None:
    """Serve `/metrics` from a separate thread. Port 0: do not serve."""
    if port:
        start_http_server(port, addr=host)
