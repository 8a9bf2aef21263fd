"""Prometheus metrics of minting."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from services.server.runtime.metrics import LATENCY_BUCKETS_S, TracedHistogram, by_labels

MINTS = by_labels(Counter("vyris_mints", "Answers to mint requests", ["outcome"]))
BATCH_RECEIPTS = Histogram(
    "vyris_mint_batch_receipts", "Receipts in a batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
)
STEP_SECONDS = by_labels(
    TracedHistogram("vyris_mint_step_seconds", "Time of a step of a batch", ["step"], buckets=LATENCY_BUCKETS_S)
)
HOLDS_USED = Counter("vyris_holds_used", "Holds whose number became a membership")
HOLDS_LIVE = Gauge("vyris_holds_live", "Numbers that are held by Postgres", ["tier", "year", "environment"])
SLOTS_REMAINING = Gauge("vyris_slots_remaining", "Unclaimed slots by Postgres", ["tier", "year", "environment"])
BOUNCER_DRIFT = Gauge(
    "vyris_bouncer_drift_slots", "Redis' count less Postgres' at the last recount", ["tier", "year", "environment"]
)
BOUNCER_UP = Gauge("vyris_bouncer_up", "1 while Redis answers, 0 while minting goes on without it")
BOUNCER_BYPASSES = Counter("vyris_bouncer_bypasses", "Batches that Postgres judged alone", ["cause"])
RECOUNTS = Counter("vyris_recounts", "Recounts of the bouncer", ["cause"])
RECEIPTS_REAPED = Counter("vyris_receipts_reaped", "PENDING receipts that were abandoned and got a reason")
RECEIPTS_POISONED = Counter("vyris_receipts_poisoned", "Receipts whose data Postgres refused")
MEMBERSHIPS_OVER_CAPACITY = Gauge(
    "vyris_memberships_over_capacity", "Live memberships beyond the drop's capacity", ["tier", "year", "environment"]
)
SLOTS_UNACCOUNTED = Gauge(
    "vyris_slots_unaccounted", "Capacity less unclaimed slots and taken numbers", ["tier", "year", "environment"]
)
NUMBERS_MISSING = Gauge(
    "vyris_numbers_missing",
    "Capacity less unclaimed slots, held numbers, live memberships, and revoked ones that keep their number",
    ["tier", "year", "environment"],
)
OLDEST_PENDING_S = Gauge("vyris_receipts_oldest_pending_seconds", "Age of the oldest PENDING receipt")
AUDITED_AT = Gauge("vyris_audited_timestamp_seconds", "When the rules were last counted over (Unix time)")
NOTICES = Counter(
    "vyris_notices", "Notifications about the money of a purchase, by what became of them", ["kind", "outcome"]
)
RECEIPTS_VERIFIED = by_labels(Counter("vyris_receipts_verified", "Receipts that were looked at", ["kind", "outcome"]))
