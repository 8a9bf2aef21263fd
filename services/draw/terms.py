"""The terms of a draw: announced with the drop, and hashed; `admin/draw_terms.py` writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.draw.maths import read_verifier_key, terms_hash_of


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms as they are served, and their members."""

    text: str
    members: Mapping[str, Any]

    @classmethod
    def read(cls, text: str) -> Terms:
        """Parse terms that were announced."""
        return cls(text, json.loads(text))

    @property
    def hash(self) -> bytes:
        """SHA-256 of the text."""
        return terms_hash_of(self.text)

    def round_at(self, number: int) -> datetime:
        """When a round of the chain is due."""
        members = self.members
        due_s = members["genesis_time"] + (number - 1) * members["period_s"]
        return datetime.fromtimestamp(due_s, UTC)

    @property
    def key(self) -> tuple[str, bytes]:
        """Name and public key of the Ed25519 key that signs promises and checkpoints."""
        return read_verifier_key(self.members["key"])
