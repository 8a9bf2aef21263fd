"""Prometheus metrics of moves and their mail."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

MOVES = Counter("vyris_reforge_moves", "Moves of memberships by event", ["event"])
MAILS = Counter("vyris_mails", "Mails by outcome of an attempt", ["kind", "outcome"])
MAIL_FAILURES = Counter(
    "vyris_mail_failures",
    "Mails that the mail server refused, by the refused command and by what its answer is about",
    ["stage", "about"],
)
MAIL_WAITING = Gauge("vyris_mail_outbox_waiting", "Mails in the outbox that are not yet sent")
OLDEST_MAIL_S = Gauge("vyris_mail_outbox_oldest_seconds", "Age of the oldest mail that is not yet sent")
