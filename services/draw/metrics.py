"""Prometheus metrics of draws."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

from services.server.runtime.metrics import by_labels

DROP: Final = ("tier", "year")

ENTRIES = by_labels(Counter("vyris_draw_entries", "Answers to requests to enter a draw", ["outcome"]))
RELAY_ANSWERS = by_labels(
    Counter("vyris_draw_relay_answers", "Answers of beacon relays: VERIFIED, REFUSED, SILENT", ["outcome"])
)
OFFERS = Counter("vyris_draw_offers", "Offers that draws made")
# Each is 0 while nothing is late.
ROOT_LATE_S = Gauge("vyris_draw_root_late_seconds", "Seconds since entries closed without a published root", DROP)
BEACON_LATE_S = Gauge("vyris_draw_beacon_late_seconds", "Seconds since the round was due without a draw", DROP)
WAVE_LATE_S = Gauge("vyris_draw_wave_late_seconds", "Seconds for which a number has been free without an offer", DROP)
# `why` is entries, key, chain or signature.
STUCK = Gauge("vyris_draw_stuck", "1 while a draw cannot continue by itself", [*DROP, "why"])
