"""Prometheus metrics of holds."""

from __future__ import annotations

from prometheus_client import Counter

from services.server.runtime.metrics import by_labels

TAKES = by_labels(Counter("vyris_hold_takes", "Answers to requests for a hold", ["outcome"]))
# The mint counts the holds that became a membership.
ENDED = by_labels(Counter("vyris_holds_ended", "Holds that ended without a membership: RELEASED, LAPSED", ["state"]))
OFFERED = Counter("vyris_holds_offered", "Numbers that came back and are held for somebody who paid too late")
