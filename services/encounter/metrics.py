"""Prometheus metrics of encounters."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from services.server.runtime.metrics import LATENCY_BUCKETS_S, by_labels

ENCOUNTERS = by_labels(Counter("vyris_encounters", "Answers to encounter tokens", ["outcome"]))
BATCH_TOKENS = Histogram(
    "vyris_encounter_batch_tokens", "Tokens in a batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
)
RECORD_SECONDS = Histogram(
    "vyris_encounter_record_seconds", "Time of the statement that records a batch", buckets=LATENCY_BUCKETS_S
)
LOCATIONS_FORGOTTEN = Counter("vyris_encounter_locations_forgotten", "Locations that were past their retention")
