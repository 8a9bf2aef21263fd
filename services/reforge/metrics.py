"""What the reforge service counts."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter

MOVES: Final = Counter("vyris_reforge_moves", "Moves of memberships by what happened", ["event"])
