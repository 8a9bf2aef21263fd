"""Prometheus metrics that every service has, and where they are served."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from services import tracing

M = TypeVar("M", Counter, Gauge, Histogram)

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def by_labels(metric: M) -> Callable[..., M]:
    """`metric.labels`, remembered: the library's own takes a lock and builds a key at every call."""
    return lru_cache(maxsize=1024)(metric.labels)


class TracedHistogram(Histogram):
    """A histogram each of whose buckets names a trace that fell into it (an exemplar), for scrapers of OpenMetrics."""

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Count `amount`, with the trace that is open right now unless another is given."""
        super().observe(amount, exemplar or tracing.exemplar())


RPC_SECONDS = by_labels(
    TracedHistogram(
        "vyris_rpc_seconds", "Time of a call inside the process", ["method", "outcome"], buckets=LATENCY_BUCKETS_S
    )
)


def serve(host: str, port: int) -> None:
    """Serve `/metrics` from a thread of its own; port 0 serves none."""
    if port:
        start_http_server(port, addr=host)
