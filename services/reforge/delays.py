"""How long things wait and can be taken back, as one value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Delays:
    """Hours. `undo_h`: a move can be taken back. `email_h`: a change of address waits (`REFORGE_EMAIL_DELAY_H`)."""

    undo_h: int
    email_h: int

    @property
    def email_undo_h(self) -> int:
        """For so long the old address can take back an applied change: as long as it waited, and as long as a move."""
        return max(self.undo_h, self.email_h)
