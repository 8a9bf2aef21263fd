"""Prometheus metrics that every service has, and where they are served."""

from __future__ import annotations

from prometheus_client import Histogram, start_http_server

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

RPC_SECONDS = Histogram(
    "vyris_rpc_seconds", "Time of a call inside the process", ["method", "outcome"], buckets=LATENCY_BUCKETS_S
)


def serve(host: str, port: int) -> None:
    """Serve `/metrics` from a thread of its own; port 0 serves none."""
    if port:
        start_http_server(port, addr=host)
