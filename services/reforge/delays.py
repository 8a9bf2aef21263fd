"""How long changes wait, and for how long they can be undone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Delays:
    """Delays in hours.

    `undo_h`: a move can be undone for so long (`REFORGE_UNDO_H`). `email_h`: a change of address waits for so long
    (`REFORGE_EMAIL_DELAY_H`).
    """

    undo_h: int
    email_h: int

    @property
    def email_undo_h(self) -> int:
        """For so long the old address can undo an applied change: as long as the change waited, at least `undo_h`."""
        return max(self.undo_h, self.email_h)
