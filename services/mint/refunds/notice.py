"""A store's or merchant's notification about the money of one purchase."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

Event = Literal["REFUND", "REVOKE", "REFUND_REVERSED"]
EVENTS: frozenset[str] = frozenset(get_args(Event))


@dataclass(frozen=True, slots=True)
class Notice:
    """A proven notification. Those of one purchase are ordered by `signed_at`, then by their id."""

    kind: str  # as in the ledger
    issuer: str  # the App Store's environment, or the merchant's name, marked in its test mode
    notification_id: str
    event: Event
    receipt_key: bytes
    transaction_id: str
    signed_at: datetime

    @property
    def refunded(self) -> bool:
        """Whether it reports a refund."""
        return self.event != "REFUND_REVERSED"

    @property
    def order(self) -> tuple[datetime, str]:
        """The key of the order: a newer notice has a greater one."""
        return self.signed_at, self.notification_id
