"""Prometheus metrics of passes and pushes."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

PASSES_SIGNED = Counter("vyris_wallet_passes_signed", "Passes that were signed")
PASSES_WAITING = Gauge("vyris_wallet_passes_waiting", "Passes that wait for their signature")
PUSHES = Counter("vyris_wallet_pushes", "Attempts to push, by outcome", ["outcome"])
PUSHES_OWED = Gauge("vyris_wallet_pushes_owed", "Pushes that wait, retries included")
OLDEST_PUSH_S = Gauge("vyris_wallet_oldest_push_seconds", "Age of the push that waits longest")
CERTIFICATE_EXPIRY = Gauge(
    "vyris_wallet_certificate_expiry_seconds", "When the pass certificate or its intermediate expires (Unix time)"
)
